// Quantised ranges, conditional dimensions and joint settings, in what searchers ask for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "select/search_world.h"

namespace hopyard {
namespace {

using Kind = Dimension::Kind;
using Method = SearchSpec::Method;
using testing::ElementsAre;
using testing::HasSubstr;
using namespace fakes;

constexpr Method kSamplers[] = {Method::random, Method::sobol, Method::tpe, Method::successive_halving};

/// What one method asks for first, without "t00 " and epochs.
std::vector<std::string> asked(const SearchSpec& spec, const std::vector<Dimension>& space) {
  const auto searcher = make_searcher(spec, space, 3);
  std::vector<std::string> all;
  while (auto order = searcher->ask()) {
    order->until_epoch.reset();
    const std::string text = describe_order(*order);
    all.push_back(text.find(' ') == text.npos ? "" : text.substr(text.find(' ') + 1));
    if (spec.method != Method::tpe) continue;
    searcher->tell({order->trial.id, 1, 0, 0, static_cast<double>(all.size() % 7), ""});
    searcher->tell_end(order->trial.id, TrialState::finished);
  }
  return all;
}

std::set<std::string> seen(Method method, const std::vector<Dimension>& space, std::uint32_t trials = 400) {
  const auto all = asked(search_spec(method, trials), space);
  return {all.begin(), all.end()};
}

TEST(Quantum, RangesKeepToTheirStepsInEveryMethod) {
  for (const Method method : kSamplers) {
    SCOPED_TRACE(static_cast<int>(method));
    EXPECT_THAT(seen(method, {range("p", Kind::uniform, 0, 0.5, 0.1)}),
                ElementsAre("p=0", "p=0.1", "p=0.2", "p=0.3", "p=0.4", "p=0.5"));
    EXPECT_THAT(seen(method, {range("p", Kind::uniform, 0, 1, 0.4)}), ElementsAre("p=0", "p=0.4", "p=0.8"));
    EXPECT_THAT(seen(method, {range("k", Kind::integer, 2, 9, 3)}), ElementsAre("k=2", "k=5", "k=8"));
    EXPECT_THAT(seen(method, {range("q", Kind::loguniform, 0.5, 2.5, 0.5)}),
                ElementsAre("q=0.5", "q=1", "q=1.5", "q=2", "q=2.5"));
  }
}

TEST(Draws, HalvingGoesThroughASmallSpaceBeforeItRepeatsItself) {
  const std::vector<Dimension> space{range("k", Kind::integer, 1, 4, 1), range("p", Kind::uniform, 0, 0.2, 0.1)};
  for (const Method method : {Method::successive_halving, Method::asha}) {
    const auto all = asked(search_spec(method, 16), space);
    ASSERT_EQ(all.size(), 16u);
    EXPECT_EQ(std::set<std::string>(all.begin(), all.begin() + 12).size(), 12u);
    EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), 12u);
  }
}

TEST(Quantum, ALoguniformOneIsStillDenserBelow) {
  const auto all = asked(search_spec(Method::random, 2000), {range("q", Kind::loguniform, 1, 64, 1)});
  const auto low =
      std::count_if(all.begin(), all.end(), [](const auto& text) { return std::stod(text.substr(2)) <= 8; });
  EXPECT_NEAR(static_cast<double>(low) / 2000, std::log(8.5 / 0.5) / std::log(64.5 / 0.5), 0.04);
}

TEST(Quantum, AGridGoesThroughSteps) {
  EXPECT_THAT(asked({}, {range("k", Kind::integer, 0, 4, 2), range("p", Kind::uniform, 0.1, 0.3, 0.1)}),
              ElementsAre("k=0 p=0.1", "k=0 p=0.2", "k=0 p=0.3", "k=2 p=0.1", "k=2 p=0.2", "k=2 p=0.3", "k=4 p=0.1",
                          "k=4 p=0.2", "k=4 p=0.3"));
}

const std::vector<Dimension>& optimizers() {
  static const std::vector<Dimension> space{
      when(listed("momentum", {0.0, 0.9}), "type", {std::string("sgd")}),
      listed("type", {std::string("adamw"), std::string("sgd")}),
      when(listed("nesterov", {true}), "momentum", {0.9}),
  };
  return space;
}

TEST(Conditional, ADimensionExistsUnderAnothersValue) {
  EXPECT_THAT(asked({}, optimizers()),
              ElementsAre("type=adamw", "momentum=0 type=sgd", "momentum=0.9 type=sgd nesterov=true"));
  for (const Method method : kSamplers)
    EXPECT_THAT(seen(method, optimizers(), 60),
                ElementsAre("momentum=0 type=sgd", "momentum=0.9 type=sgd nesterov=true", "type=adamw"));
}

TEST(Conditional, OneOfSeveralValuesAndOfARange) {
  EXPECT_THAT(
      asked({}, {listed("freeze", {std::int64_t{0}, std::int64_t{2}, std::int64_t{4}}),
                 when(listed("decay", {0.5, 0.9}), "freeze", {std::int64_t{0}, std::int64_t{4}})}),
      ElementsAre("freeze=0 decay=0.5", "freeze=0 decay=0.9", "freeze=2", "freeze=4 decay=0.5", "freeze=4 decay=0.9"));
  EXPECT_THAT(asked({}, {range("k", Kind::integer, 0, 2, 1), when(listed("x", {1.5}), "k", {std::int64_t{1}})}),
              ElementsAre("k=0", "k=1 x=1.5", "k=2"));
}

TEST(Conditional, LeavesWhatOthersDrawAsItWas) {
  const std::vector<Dimension> alone{range("lr", Kind::uniform, 0, 1)};
  std::vector<Dimension> with = optimizers();
  with.push_back(alone[0]);
  const auto spec = search_spec(Method::random, 20);
  const auto a = asked(spec, alone), b = asked(spec, with);
  for (int i = 0; i < 20; ++i) EXPECT_THAT(b[i], testing::EndsWith(a[i]));
}

Dimension joint(std::vector<std::vector<Setting>> entries) {
  Dimension dimension{.path = "recipe", .kind = Kind::joint};
  dimension.joint = std::move(entries);
  return dimension;
}

TEST(Joint, OneDimensionSetsSeveralKeys) {
  const auto recipes = joint({{{"freeze", std::int64_t{0}}, {"lr", 1e-5}}, {{"freeze", std::int64_t{6}}}});
  EXPECT_THAT(asked({}, {recipes, listed("seed", {1.5, 2.5})}),
              ElementsAre("freeze=0 lr=1e-05 seed=1.5", "freeze=0 lr=1e-05 seed=2.5", "freeze=6 seed=1.5",
                          "freeze=6 seed=2.5"));
  for (const Method method : kSamplers)
    EXPECT_THAT(seen(method, {recipes}, 30), ElementsAre("freeze=0 lr=1e-05", "freeze=6"));
  EXPECT_THAT(asked({}, {when(listed("lr_head", {0.1}), "freeze", {std::int64_t{6}}), recipes}),
              ElementsAre("freeze=0 lr=1e-05", "lr_head=0.1 freeze=6"));
}

TEST(Spaces, ContradictionsAreRefused) {
  const auto lr = listed("lr", {0.1});
  EXPECT_THAT(refusal({}, {lr, lr}), HasSubstr("'lr' is searched twice"));
  EXPECT_THAT(refusal({}, {lr, joint({{{"lr", 0.2}}})}), HasSubstr("'lr' is searched twice"));
  EXPECT_THAT(refusal({}, {joint({{{"lr", 0.2}, {"lr", 0.3}}})}), HasSubstr("sets 'lr' twice"));
  EXPECT_THAT(refusal({}, {joint({})}), HasSubstr("'recipe' has no values"));
  EXPECT_THAT(refusal({}, {joint({{}})}), HasSubstr("'recipe' has an empty entry"));
  EXPECT_THAT(refusal({}, {when(lr, "type", {0.5})}),
              HasSubstr("'lr' exists only under 'type', which is not searched"));
  EXPECT_THAT(refusal({}, {when(lr, "p", {0.5, 0.7}), listed("p", {0.6})}),
              HasSubstr("only where 'p' is 0.5 or 0.7, which it never is"));
  EXPECT_THAT(refusal({}, {when(lr, "k", {std::int64_t{4}}), range("k", Kind::integer, 0, 6, 3)}),
              HasSubstr("never is"));
  EXPECT_THAT(refusal({}, {when(listed("a", {0.1}), "b", {0.1}), when(listed("b", {0.1}), "a", {0.1})}),
              HasSubstr("break the circle"));
  EXPECT_THAT(refusal({}, {when(lr, "lr", {0.1})}), HasSubstr("break the circle"));
}

TEST(Spaces, ImpossibleStepsAndInfiniteGridsAreRefused) {
  const auto spec = search_spec(Method::random, 4);
  EXPECT_THAT(refusal(spec, {range("p", Kind::uniform, 0, 1, -0.1)}), HasSubstr("in steps of -0.1"));
  EXPECT_THAT(refusal(spec, {range("p", Kind::uniform, 0, 1, 2)}), HasSubstr("must be above 0 and fit"));
  EXPECT_THAT(refusal(spec, {range("p", Kind::uniform, 0, 1, std::nan(""))}), HasSubstr("in steps of"));
  EXPECT_THAT(refusal(spec, {range("p", Kind::uniform, 0, 1e300, 1e-300)}), HasSubstr("too many to count"));
  EXPECT_THAT(refusal(spec, {range("p", Kind::uniform, -1e308, 1e308)}), HasSubstr("'p'"));
  EXPECT_THAT(refusal(spec, {range("k", Kind::integer, 0, 9, 1.5)}), HasSubstr("the step must be a whole number"));
  EXPECT_THAT(refusal({}, {range("p", Kind::uniform, 0, 1)}), HasSubstr("'p' is a range, which method: grid"));
  EXPECT_THAT(refusal({}, {range("k", Kind::integer, 0, 1000), listed("lr", {0.1})}), HasSubstr("'k' is a range"));
  EXPECT_THAT(refusal({}, {range("k", Kind::integer, 0, 1'000'000'000, 1)}), HasSubstr("more than 100000"));
}

}  // namespace
}  // namespace hopyard
