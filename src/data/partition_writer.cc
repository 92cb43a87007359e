#include "data/partition_writer.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iomanip>
#include <sstream>

#include "base/failure.h"
#include "base/files.h"
#include "data/dataset.h"
#include "data/row_groups.h"

namespace hopyard {

namespace {

namespace fs = std::filesystem;

std::string numbered(const std::string& word, std::uint32_t number, int digits) {
  std::ostringstream out;
  out << word << std::setw(digits) << std::setfill('0') << number;
  return out.str();
}

/// A folder beside the one to be, that is removed unless it gets its name.
class FolderToBe {
 public:
  explicit FolderToBe(const std::string& path) : path_(path), temporary_(path + ".XXXXXX") {
    if (const fs::path above = fs::path(path).parent_path(); !above.empty()) fs::create_directories(above);
    if (::mkdtemp(temporary_.data()) == nullptr)
      fail(ExitCode::input, path, ": cannot create a folder beside it; see that you may write there");
    fs::permissions(temporary_,
                    fs::perms::others_read | fs::perms::others_exec | fs::perms::group_read | fs::perms::group_exec,
                    fs::perm_options::add);
  }
  FolderToBe(const FolderToBe&) = delete;
  ~FolderToBe() {
    std::error_code ignored;
    if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  }
  const std::string& path() const { return temporary_; }
  void commit() {
    sync_folder(temporary_);
    fs::rename(temporary_, path_);
    temporary_.clear();
    const fs::path above = fs::path(path_).parent_path();
    sync_folder(above.empty() ? "." : above.string());
  }

 private:
  std::string path_, temporary_;
};

class Writer {
 public:
  Writer(const Dataset& source, const Json& described, Bytes part_bytes) : source_(source), described_(described) {
    Bytes widest = 1;
    for (const ColumnInfo& column : source.columns()) widest = std::max(widest, Dataset::bytes_of_row(column));
    part_rows_ = std::max<Bytes>(1, part_bytes / widest);
  }

  /// A data folder of these rows of the source, in their order.
  void write(const std::string& folder, std::span<const std::uint32_t> rows) const {
    fs::create_directory(folder);
    Json parts = Json::array();
    for (std::size_t begin = 0; begin < rows.size(); begin += part_rows_) {
      const auto part = rows.subspan(begin, std::min<std::size_t>(part_rows_, rows.size() - begin));
      const std::string name = numbered("part-", static_cast<std::uint32_t>(parts.size()), 5) + ".safetensors";
      write_part(folder + "/" + name, part);
      parts.push_back(Json{{"file", name}, {"rows", part.size()}});
    }
    Json described = described_;
    described["rows"] = rows.size();
    described["parts"] = std::move(parts);
    write_file_atomically(folder + "/dataset.json", described.dump(1) + "\n");
  }

 private:
  void write_part(const std::string& path, std::span<const std::uint32_t> rows) const {
    std::vector<TensorToWrite> tensors;
    for (const ColumnInfo& column : source_.columns()) {
      tensors.push_back({column.name, column.dtype, {static_cast<std::int64_t>(rows.size())}});
      tensors.back().shape.insert(tensors.back().shape.end(), column.shape.begin(), column.shape.end());
    }
    write_safetensors(path, tensors, [&](std::size_t index, std::span<std::byte> out) {
      source_.copy_rows(source_.columns()[index], rows, out);
    });
  }

  const Dataset& source_;
  const Json& described_;
  Bytes part_rows_ = 1;
};

void check(const PartitionRequest& request, std::size_t there, const char* of_what) {
  if (request.into == 0 || request.into > there)
    fail(ExitCode::usage, "--into: ", request.into, " partitions cannot share the ", there, " ", of_what, " of ",
         request.data, "; give 1 to ", there);
}

/// What goes into each partition.
struct Layout {
  std::vector<std::vector<std::uint32_t>> rows;  // of the source, in their order
  std::vector<std::vector<PartitionGroup>> groups;
};

Layout layout_by_rows(const PartitionRequest& request, const Dataset& source) {
  check(request, source.rows(), "rows");
  const Partitions partitions(source.rows(), request.into, request.seed);
  Layout layout{{}, std::vector<std::vector<PartitionGroup>>(request.into)};
  for (std::uint32_t p = 0; p < request.into; ++p) {
    const auto rows = partitions.shuffled(p);
    layout.rows.emplace_back(rows.begin(), rows.end());
  }
  return layout;
}

Layout layout_by_groups(const PartitionRequest& request, const Dataset& source) {
  const RowGroups groups(source, request.group_by, source.rows());
  check(request, groups.groups().size(), "groups");
  std::vector<std::uint32_t> place_of_row(source.rows());
  const Partitions whole(source.rows(), 1, request.seed);
  const auto shuffled = whole.shuffled(0);
  for (std::uint32_t place = 0; place < shuffled.size(); ++place) place_of_row[shuffled[place]] = place;
  std::vector<std::uint32_t> sizes;
  for (const auto& group : groups.groups()) sizes.push_back(static_cast<std::uint32_t>(group.rows.size()));
  const auto partitions = pack_groups(sizes, request.into);
  Layout layout{std::vector<std::vector<std::uint32_t>>(request.into),
                std::vector<std::vector<PartitionGroup>>(request.into)};
  for (std::size_t g = 0; g < sizes.size(); ++g) {
    auto rows = groups.groups()[g].rows;
    std::sort(rows.begin(), rows.end(),
              [&](std::uint32_t a, std::uint32_t b) { return place_of_row[a] < place_of_row[b]; });
    auto& all = layout.rows[partitions[g]];
    all.insert(all.end(), rows.begin(), rows.end());
    layout.groups[partitions[g]].push_back({groups.groups()[g].value, sizes[g]});
  }
  return layout;
}

}  // namespace

PartitionManifest write_partitions(const PartitionRequest& request) {
  std::string out = request.out;
  while (out.size() > 1 && out.back() == '/') out.pop_back();
  if (fs::exists(fs::symlink_status(out)))
    fail(ExitCode::usage, "--out: ", out, " is there already; name a new folder");
  const Dataset source(request.data);
  const Layout layout = request.group_by.empty() ? layout_by_rows(request, source) : layout_by_groups(request, source);
  const Json described = read_json(request.data + "/dataset.json");
  PartitionManifest manifest{.seed = request.seed,
                             .rows = source.rows(),
                             .source = request.data,
                             .source_digest = digest_of(examine_data_folder(request.data)),
                             .group_by = request.group_by};
  FolderToBe folder(out);
  const Writer writer(source, described, request.part_bytes);
  const int digits = std::max<int>(3, static_cast<int>(std::to_string(request.into - 1).size()));
  for (std::uint32_t p = 0, begin = 0; p < request.into; begin += manifest.partitions[p++].rows) {
    PartitionEntry entry{.folder = numbered("partition-", p, digits),
                         .begin = begin,
                         .rows = static_cast<std::uint32_t>(layout.rows[p].size()),
                         .groups = layout.groups[p]};
    const std::string path = folder.path() + "/" + entry.folder;
    writer.write(path, layout.rows[p]);
    entry.files = examine_data_folder(path);
    entry.digest = digest_of(entry.files);
    manifest.partitions.push_back(std::move(entry));
  }
  write_file_atomically(folder.path() + "/" + kPartitionManifest, to_json(manifest).dump(1) + "\n");
  folder.commit();
  return manifest;
}

}  // namespace hopyard
