#include "data/partition_manifest.h"

#include <algorithm>
#include <limits>
#include <map>

#include "base/failure.h"
#include "base/files.h"
#include "formats/digest.h"
#include "formats/printable.h"

namespace hopyard {

namespace {

constexpr std::int64_t kVersion = 1;

std::string plain_name(const Json& object, const char* key, const std::string& where) {
  auto name = json_get<std::string>(object, key, where);
  if (!is_plain_file_name(name)) fail(ExitCode::input, where, ": ", printable(name), " leaves the folder");
  return name;
}

PartitionEntry parse_entry(const Json& json, const std::string& where) {
  PartitionEntry entry{.folder = plain_name(json, "folder", where),
                       .begin = json_get<std::uint32_t>(json, "begin", where),
                       .rows = json_get<std::uint32_t>(json, "rows", where)};
  for (const Json& file : json_list(json, "files", where))
    entry.files.push_back({plain_name(file, "name", where), json_get<std::uint64_t>(file, "bytes", where),
                           json_get<std::string>(file, "digest", where)});
  if (json.contains("groups"))
    for (const Json& group : json_list(json, "groups", where))
      entry.groups.push_back({json_get<std::int64_t>(group, "value", where + ": a group"),
                              json_get<std::uint32_t>(group, "rows", where + ": a group")});
  entry.digest = json_get<std::string>(json, "digest", where);
  if (entry.digest != digest_of(entry.files))
    fail(ExitCode::input, where, " was altered: its digest is not that of its files");
  return entry;
}

/// Whole groups make up a partition, and each is in one alone.
void check_groups(const PartitionManifest& manifest, const std::string& file) {
  std::map<std::int64_t, std::size_t> places;
  for (std::size_t p = 0; p < manifest.partitions.size(); ++p) {
    std::uint64_t rows = 0;
    for (const PartitionGroup& group : manifest.partitions[p].groups) {
      rows += group.rows;
      const auto [other, is_new] = places.emplace(group.value, p);
      if (!is_new || group.rows == 0)
        fail(ExitCode::input, file, ": partition ", p, " has ", group.rows, " rows of group ", group.value,
             is_new ? "" : text::cat(", which partition ", other->second, " has already"));
    }
    if (!manifest.group_by.empty() && rows != manifest.partitions[p].rows)
      fail(ExitCode::input, file, ": the groups of partition ", p, " have ", rows, " rows, the partition has ",
           manifest.partitions[p].rows);
  }
  if (manifest.group_by.empty() && !places.empty())
    fail(ExitCode::input, file, ": there are groups and no column 'group_by' that they are of");
}

/// Together they are all rows, each once, and as many in each, but for one or for whole groups.
void check_layout(const PartitionManifest& manifest, const std::string& file) {
  std::map<std::string, std::size_t> folders;
  std::uint64_t next = 0;
  const auto count = manifest.partitions.size();
  for (std::size_t p = 0; p < count; ++p) {
    const PartitionEntry& entry = manifest.partitions[p];
    const auto [other, is_new] = folders.emplace(entry.folder, p);
    if (!is_new)
      fail(ExitCode::input, file, ": partitions ", other->second, " and ", p, " overlap: both are ", entry.folder);
    if (entry.begin < next)
      fail(ExitCode::input, file, ": partition ", p, " overlaps the one before: it begins at row ", entry.begin,
           " of the shuffle, which has gone to row ", next);
    if (entry.begin > next)
      fail(ExitCode::input, file, ": a partition is missing before partition ", p, ": rows ", next, " to ",
           entry.begin - 1, " of the shuffle are in none");
    if (const auto equal = manifest.rows / count;
        manifest.group_by.empty() && entry.rows != equal && entry.rows != equal + 1)
      fail(ExitCode::input, file, ": partition ", p, " has ", entry.rows, " rows, where each has ", equal,
           " or one more");
    next += entry.rows;
  }
  if (next != manifest.rows)
    fail(ExitCode::input, file, ": its ", count, " partitions have ", next, " rows, the set has ", manifest.rows,
         "; a partition behind partition ", count - 1, " is missing or one too many");
  check_groups(manifest, file);
}

}  // namespace

Json to_json(const PartitionManifest& manifest) {
  Json partitions = Json::array();
  for (const PartitionEntry& entry : manifest.partitions) {
    Json files = Json::array();
    for (const PartitionFile& file : entry.files)
      files.push_back(Json{{"name", file.name}, {"bytes", file.bytes}, {"digest", file.digest}});
    partitions.push_back(Json{{"folder", entry.folder},
                              {"begin", entry.begin},
                              {"rows", entry.rows},
                              {"digest", entry.digest},
                              {"files", std::move(files)}});
    for (const PartitionGroup& group : entry.groups)
      partitions.back()["groups"].push_back(Json{{"value", group.value}, {"rows", group.rows}});
  }
  Json json{{"format", "hopyard-partitions"},
            {"version", kVersion},
            {"seed", manifest.seed},
            {"rows", manifest.rows},
            {"source", Json{{"folder", manifest.source}, {"digest", manifest.source_digest}}},
            {"partitions", std::move(partitions)}};
  if (!manifest.group_by.empty()) json["group_by"] = manifest.group_by;
  return json;
}

PartitionManifest read_partition_manifest(const std::string& folder) {
  const std::string file = folder + "/" + kPartitionManifest;
  const Json json = read_json(file);
  if (const auto format = json_get<std::string>(json, "format", file); format != "hopyard-partitions")
    fail(ExitCode::input, file, ": its format is ", printable(format), ", not 'hopyard-partitions'");
  if (const auto version = json_get<std::int64_t>(json, "version", file); version != kVersion)
    fail(ExitCode::input, file, ": has version ", version, "; this build reads version ", kVersion);
  PartitionManifest manifest{.seed = json_get<std::uint64_t>(json, "seed", file),
                             .rows = json_get<std::uint32_t>(json, "rows", file)};
  const auto source = json.find("source");
  if (source == json.end() || !source->is_object()) fail(ExitCode::input, file, ": 'source' must be an object");
  manifest.source = json_get<std::string>(*source, "folder", file + ": source");
  manifest.source_digest = json_get<std::string>(*source, "digest", file + ": source");
  if (json.contains("group_by")) manifest.group_by = json_get<std::string>(json, "group_by", file);
  for (const Json& entry : json_list(json, "partitions", file))
    manifest.partitions.push_back(parse_entry(entry, text::cat(file, ": partition ", manifest.partitions.size())));
  if (manifest.partitions.empty()) fail(ExitCode::input, file, ": has no partitions");
  check_layout(manifest, file);
  return manifest;
}

PartitionFile examine_file(const std::string& folder, const std::string& name) {
  const MappedFile file(folder + "/" + name);
  return {name, file.bytes().size(), to_hex(digest_bytes(file.bytes()))};
}

std::string digest_of(const std::vector<PartitionFile>& files) {
  std::string all;
  for (const PartitionFile& file : files) all += text::cat(file.name, '\n', file.bytes, '\n', file.digest, '\n');
  return to_hex(digest_bytes(std::as_bytes(std::span(all))));
}

std::vector<PartitionFile> examine_data_folder(const std::string& folder) {
  std::vector<PartitionFile> files{examine_file(folder, "dataset.json")};
  const std::string file = folder + "/dataset.json";
  const Json json = read_json(file);
  for (const Json& part : json_list(json, "parts", file))
    files.push_back(examine_file(folder, plain_name(part, "file", file + ": a part")));
  return files;
}

}  // namespace hopyard
