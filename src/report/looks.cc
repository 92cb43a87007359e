#include "report/looks.h"

#include "base/clock.h"
#include "base/text.h"
#include "report/html_parts.h"
#include "report/json_fields.h"
#include "report/table.h"

namespace hopyard {

namespace {

constexpr int kDecimals = 4;
constexpr const char* kHeaders[] = {"look", "trial", "epoch", "result", "when", "by", "reason"};

std::string result_text(const TestLook& look) {
  if (look.metrics.empty()) return "came to no result";
  std::vector<std::string> parts;
  for (const auto& [name, value] : look.metrics) parts.push_back(name + " " + text::format_number(value, kDecimals));
  return text::join(parts, ", ");
}

std::vector<std::string> cells_of(const TestLook& look, std::size_t number) {
  const std::string who = text::cat(look.by.author.empty() ? "somebody" : look.by.author, " (uid ", look.by.uid, ")");
  return {number == 1 ? "first" : text::cat("again, ", number),
          look.trial,
          to_string(look.epochs),
          result_text(look),
          format_wall_time(look.by.time_s),
          who,
          look.reason};
}

std::string warning(std::size_t looks) {
  if (looks < 2) return "";
  return text::cat("The test split of this run was looked at ", looks,
                   " times: only the first result is of rows that nobody had seen.");
}

}  // namespace

void to_json(Json& json, const TestLook& look) {
  Json metrics = Json::object();
  for (const auto& [name, value] : look.metrics) metrics[name] = value;
  json = {{"trial", look.trial}, {"epochs", look.epochs},    {"digest", look.digest}, {"author", look.by.author},
          {"uid", look.by.uid},  {"time_s", look.by.time_s}, {"reason", look.reason}, {"metrics", metrics}};
}

std::string format_looks(const std::vector<TestLook>& looks) {
  if (looks.empty()) return "";
  std::vector<Column> columns;
  for (const char* header : kHeaders) columns.push_back({header});
  Table table(columns);
  for (std::size_t i = 0; i < looks.size(); ++i) table.add_row(cells_of(looks[i], i + 1));
  const std::string again = warning(looks.size());
  return "looks at the test split:\n" + table.to_text(2) + (again.empty() ? "" : again + "\n");
}

std::string looks_section(const std::vector<TestLook>& looks) {
  if (looks.empty()) return "";
  std::string out = "<section id=\"looks\"><h2>Looks at the test split</h2><table><thead><tr>";
  for (const char* header : kHeaders) out += text::cat("<th>", header, "</th>");
  out += "</tr></thead><tbody>\n";
  for (std::size_t i = 0; i < looks.size(); ++i) {
    out += "<tr>";
    for (const auto& cell : cells_of(looks[i], i + 1)) out += "<td>" + escape_html(cell) + "</td>";
    out += "</tr>\n";
  }
  out += "</tbody></table>";
  if (const std::string again = warning(looks.size()); !again.empty()) out += "<p class=\"note\">" + again + "</p>";
  return out + "</section>\n";
}

}  // namespace hopyard
