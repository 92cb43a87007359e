// A layer of one of the built-in families: it also says how each of its parameters begins without a checkpoint.
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
  const std::vector<InitialValue>& initial_values() const { return initial_values_; }
  /// True for a parameter that a checkpoint of another task lacks: a new head.
  bool may_be_new(std::size_t parameter) const { return may_be_new_[parameter]; }

 protected:
  enum class Origin { checkpoint, new_head };

  std::size_t weight(std::string name, std::vector<std::int64_t> shape, InitialValue initial,
                     Origin origin = Origin::checkpoint) {
    return add({std::move(name), std::move(shape), /*decays=*/true}, initial, origin);
  }
  /// Biases and norms: no weight decay.
  std::size_t plain(std::string name, std::vector<std::int64_t> shape, InitialValue initial,
                    Origin origin = Origin::checkpoint) {
    return add({std::move(name), std::move(shape), /*decays=*/false}, initial, origin);
  }
  std::size_t tied(std::string name, std::vector<std::int64_t> shape, ParameterDescription::Owner owner) {
    return add({std::move(name), std::move(shape), /*decays=*/true, owner}, InitialValue::zeros(), Origin::checkpoint);
  }

 private:
  std::size_t add(ParameterDescription parameter, InitialValue initial, Origin origin) {
    initial_values_.push_back(initial);
    may_be_new_.push_back(origin == Origin::new_head);
    return declare(std::move(parameter));
  }

  std::vector<InitialValue> initial_values_;
  std::vector<bool> may_be_new_;
};

}  // namespace hopyard
