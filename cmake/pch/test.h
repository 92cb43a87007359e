// plain.h, and what tests are written with.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plain.h"
