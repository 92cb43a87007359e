// The `data` part of a config.
#pragma once

#include <cstdint>
#include <string>

namespace hopyard {

struct DataSpec {
  std::string train, valid, test;  ///< folders; test may be empty
  std::uint32_t train_rows = 0;    ///< 0: all
  std::uint32_t valid_rows = 0;    ///< 0: all
  std::uint32_t partitions = 0;    ///< 0: so many that a sub-epoch lasts about a minute; of data that were cut, theirs
  enum class Order { seed, free };
  Order order = Order::seed;  ///< of a trial's visits: follows from the seed, or from which workers are free
  std::string group_by;  ///< a column of whole numbers: models are trained for the rows of each value alone; or empty
  bool operator==(const DataSpec&) const = default;
};

}  // namespace hopyard
