// plain.h, and tensors as values: to own, to hand on, to call.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include "plain.h"
