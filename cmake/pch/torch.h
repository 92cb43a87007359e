// tensor.h, and what computes: functions over tensors, modules, autograd.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/nn/module.h>

#include "tensor.h"
