// A layer of one of the built-in families: it also says how each of its parameters begins without a checkpoint, and
// what it is there for.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/layer.h"

namespace hopyard {

/// The first values of a parameter that no checkpoint gives.
struct InitialValue {
  enum class Kind { zeros, ones, normal, uniform };
  Kind kind = Kind::zeros;
  double scale = 0;            ///< standard deviation of normal; uniform is over [−scale, scale)
  std::int64_t zero_row = -1;  ///< this row of the first dimension is zero: an embedding's padding
  static InitialValue zeros() { return {Kind::zeros}; }
  static InitialValue ones() { return {Kind::ones}; }
  static InitialValue normal(double deviation, std::int64_t zero_row = -1) {
    return {Kind::normal, deviation, zero_row};
  }
  static InitialValue uniform(double bound) { return {Kind::uniform, bound}; }
};

class FamilyLayer : public Layer {
 public:
  /// body and norm: the pretrained model's; head: what a checkpoint of another task lacks; adapter: what no checkpoint
  /// of a model has.
  enum class Role { body, norm, head, adapter };

  const std::vector<InitialValue>& initial_values() const { return initial_values_; }
  Role role(std::size_t parameter) const { return roles_[parameter]; }

 protected:
  std::size_t weight(std::string name, std::vector<std::int64_t> shape, InitialValue initial, Role role = Role::body) {
    return add({std::move(name), std::move(shape), /*decays=*/true}, initial, role);
  }
  /// Biases and norms: no weight decay.
  std::size_t plain(std::string name, std::vector<std::int64_t> shape, InitialValue initial, Role role = Role::body) {
    return add({std::move(name), std::move(shape), /*decays=*/false}, initial, role);
  }
  std::size_t tied(std::string name, std::vector<std::int64_t> shape, ParameterDescription::Owner owner) {
    return add({std::move(name), std::move(shape), /*decays=*/true, owner}, InitialValue::zeros(), Role::body);
  }

 private:
  std::size_t add(ParameterDescription parameter, InitialValue initial, Role role) {
    initial_values_.push_back(initial);
    roles_.push_back(role);
    return declare(std::move(parameter));
  }

  std::vector<InitialValue> initial_values_;
  std::vector<Role> roles_;
};

}  // namespace hopyard
