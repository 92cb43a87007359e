#include "runtime/sqlite_operations.h"

#include <map>

#include "base/failure.h"

namespace hopyard {

const char* type_word(const SettingValue& value) {
  static constexpr const char* words[] = {"bool", "int", "float", "text"};
  return words[value.index()];
}

SettingValue read_setting(const Connection& connection, const Statement& row, int type_column, int value_column) {
  const std::string type = row.text(type_column);
  if (type == "bool") return row.text(value_column) == "true";
  if (type == "int") return row.number<std::int64_t>(value_column);
  if (type == "float") return row.real(value_column);
  if (type == "text") return row.text(value_column);
  connection.damaged("unknown type '" + type + "' of a setting");
}

TrialState read_state(const Connection& connection, const std::string& word) {
  for (const TrialState state :
       {TrialState::waiting, TrialState::active, TrialState::finished, TrialState::failed, TrialState::stopped})
    if (to_string(state) == word) return state;
  connection.damaged("unknown state '" + word + "' of a trial");
}

Epochs read_epochs(const Connection& connection, const Statement& row, int count_column, int parts_column) {
  const std::uint32_t parts = row.small(parts_column);
  if (parts == 0) connection.damaged("epochs of no parts");
  return Epochs::of_visits(row.small(count_column), parts);
}

void OperationTable::add(const Operation& operation) {
  const OperationRequest& request = operation.request;
  conflicts_.each(
      [&](const Statement& row) {
        require(row.integer(0) == 0, "operation ", operation.number, " comes after a later one, or its token twice");
      },
      operation.number, request.token);
  add_.run(operation.number, request.token, operation.time_s, request.uid, request.author, to_string(request.verb),
           request.trial, request.warm, request.reason, operation.at_visits, operation.clone);
  for (std::size_t i = 0; i < request.changes.size(); ++i) {
    const Setting& change = request.changes[i];
    add_change_.run(operation.number, i, change.path, std::string(type_word(change.value)), to_string(change.value));
  }
  if (request.epochs > 0) add_epochs_.run(operation.number, request.epochs);
  if (operation.outcome) settle_.run(*operation.outcome, operation.number);
}

void OperationTable::settle(std::uint64_t number, const std::string& outcome) {
  known_.each([&](const Statement& row) { require(row.integer(0) == 1, "operation ", number, " is not recorded"); },
              number);
  settle_.run(outcome, number);
}

std::vector<Operation> OperationTable::all() {
  std::vector<Operation> operations;
  std::map<std::int64_t, std::size_t> places;
  all_.each([&](const Statement& row) {
    places[row.integer(0)] = operations.size();
    Operation& operation = operations.emplace_back();
    OperationRequest& request = operation.request;
    operation.number = static_cast<std::uint64_t>(row.integer(0));
    request.token = row.text(1);
    operation.time_s = row.real(2);
    request.uid = row.small(3);
    request.author = row.text(4);
    const auto verb = parse_operation_verb(row.text(5));
    if (!verb) connection_.damaged("unknown operation '" + row.text(5) + "'");
    request.verb = *verb;
    request.trial = row.text(6);
    request.warm = row.integer(7) != 0;
    request.reason = row.text(8);
    operation.at_visits = row.small(9);
    operation.clone = row.text(10);
    if (row.integer(11) != 0) operation.outcome = row.text(12);
  });
  const auto operation_of = [&](const Statement& row) -> Operation& {
    const auto place = places.find(row.integer(0));
    if (place == places.end()) connection_.damaged("values of an unknown operation");
    return operations[place->second];
  };
  all_epochs_.each([&](const Statement& row) { operation_of(row).request.epochs = row.small(1); });
  all_changes_.each([&](const Statement& row) {
    operation_of(row).request.changes.push_back({row.text(1), read_setting(connection_, row, 2, 3)});
  });
  return operations;
}

}  // namespace hopyard
