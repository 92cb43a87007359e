// tensor.h, and what tests are written with.
#pragma once

#include "tensor.h"
#include "test.h"
