#include "select/rigor_distributions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <stdexcept>

namespace hopyard::rigor {
namespace {

// The tables are from scipy 1.17.1: stats.t, stats.norm, stats.binom, special.betainc, special.gammaln.

void expect_close(double value, double expected, double relative) {
  EXPECT_NEAR(value, expected, relative * std::abs(expected));
}

TEST(LogGamma, AgreesWithScipy) {
  const struct {
    double x, value;
  } table[] = {
      {0.001, 6.907178885383853},
      {0.5, 0.5723649429247},
      {1.0, 0.0},
      {2.0, 0.0},
      {3.7, 1.428072326665388},
      {14.9, 24.924132002217277},
      {171.5, 709.1431630309283},
      {1000000.0, 12815504.569147611},
  };
  for (const auto& [x, value] : table) EXPECT_NEAR(log_gamma(x), value, 1e-14 * std::max(1.0, std::abs(value))) << x;
  EXPECT_THROW(log_gamma(0), std::logic_error);
}

TEST(IncompleteBeta, AgreesWithScipy) {
  const struct {
    double a, b, x, value;
  } table[] = {
      {0.5, 0.5, 0.25, 0.33333333333333337},      {2.0, 3.0, 0.9, 0.9963},
      {50.0, 0.5, 0.99, 0.3173043978741973},      {300.0, 400.0, 0.4, 0.06261247539854092},
      {5000.0, 4000.0, 0.56, 0.8018651249503451}, {100000.0, 120000.0, 0.453, 0.07270457606876785},
      {0.01, 3.0, 0.001, 0.9472810243254739},
  };
  for (const auto& [a, b, x, value] : table) {
    SCOPED_TRACE(testing::Message() << a << ' ' << b << ' ' << x);
    const double relative = a + b > 1e4 ? 1e-9 : 1e-11;
    expect_close(incomplete_beta(a, b, x), value, relative);
    EXPECT_NEAR(incomplete_beta(b, a, 1 - x), 1 - value, relative);
  }
  EXPECT_EQ(incomplete_beta(2, 3, 0), 0);
  EXPECT_EQ(incomplete_beta(2, 3, 1), 1);
  EXPECT_THROW(incomplete_beta(0, 1, 0.5), std::logic_error);
  EXPECT_THROW(incomplete_beta(1, 1, 1.5), std::logic_error);
}

TEST(Normal, QuantileAgreesWithScipyAndInvertsTheDistribution) {
  const struct {
    double probability, z;
  } table[] = {
      {1e-10, -6.361340902404056}, {0.0001, -3.7190164854556804}, {0.025, -1.9599639845400545},
      {0.4, -0.2533471031357997},  {0.6, 0.2533471031357997},     {0.975, 1.959963984540054},
      {0.9999, 3.719016485455709},
  };
  for (const auto& [probability, z] : table) {
    expect_close(normal_quantile(probability), z, 1e-12);
    expect_close(normal_cdf(z), probability, 1e-12);
  }
  EXPECT_EQ(normal_quantile(0.5), 0);
  EXPECT_THROW(normal_quantile(1), std::logic_error);
}

TEST(StudentT, QuantileAgreesWithScipy) {
  const struct {
    double probability, degrees, t;
  } table[] = {
      {0.75, 0.5, 1.5537739740300383},       {0.95, 0.5, 41.13600009287819},      {0.975, 0.5, 164.55767348048818},
      {0.995, 0.5, 4113.964588804174},       {0.9995, 0.5, 411396.462526262},     {0.75, 1.0, 1.0000000000000002},
      {0.95, 1.0, 6.313751514675037},        {0.975, 1.0, 12.706204736174694},    {0.995, 1.0, 63.656741162871526},
      {0.9995, 1.0, 636.6192487687897},      {0.75, 2.0, 0.8164965809277261},     {0.95, 2.0, 2.9199855803537242},
      {0.975, 2.0, 4.302652729749462},       {0.995, 2.0, 9.924843200918287},     {0.9995, 2.0, 31.599054576445365},
      {0.75, 2.5, 0.7850136829922992},       {0.95, 2.5, 2.5582186141359355},     {0.975, 2.5, 3.5746548420036817},
      {0.995, 2.5, 7.163728138948783},       {0.9995, 2.5, 18.277893528131457},   {0.75, 3.0, 0.7648923284043444},
      {0.95, 3.0, 2.3533634348018233},       {0.975, 3.0, 3.1824463052837078},    {0.995, 3.0, 5.840909309733355},
      {0.9995, 3.0, 12.923978636687961},     {0.75, 4.0, 0.7406970841126829},     {0.95, 4.0, 2.1318467863266495},
      {0.975, 4.0, 2.7764451051977934},      {0.995, 4.0, 4.604094871349992},     {0.9995, 4.0, 8.610301581379522},
      {0.75, 9.0, 0.7027221467513264},       {0.95, 9.0, 1.833112932656237},      {0.975, 9.0, 2.262157162798205},
      {0.995, 9.0, 3.249835541592126},       {0.9995, 9.0, 4.780912585931217},    {0.75, 30.0, 0.6827556933212927},
      {0.95, 30.0, 1.697260886593957},       {0.975, 30.0, 2.0422724563012378},   {0.995, 30.0, 2.7499956535672254},
      {0.9995, 30.0, 3.6459586350420627},    {0.75, 100.0, 0.6769510430114717},   {0.95, 100.0, 1.6602343260853392},
      {0.975, 100.0, 1.9839715185235518},    {0.995, 100.0, 2.6258905214380173},  {0.9995, 100.0, 3.390491311164263},
      {0.75, 1000.0, 0.6747351646070093},    {0.95, 1000.0, 1.6463788172854643},  {0.975, 1000.0, 1.9623390808264083},
      {0.995, 1000.0, 2.580754698065951},    {0.9995, 1000.0, 3.300282648423944}, {0.75, 10000.0, 0.6745142844835927},
      {0.95, 10000.0, 1.645006018069243},    {0.975, 10000.0, 1.960201239890626}, {0.995, 10000.0, 2.5763210466685282},
      {0.9995, 10000.0, 3.2914999659416355},
  };
  for (const auto& [probability, degrees, t] : table) {
    SCOPED_TRACE(testing::Message() << probability << ' ' << degrees);
    expect_close(student_t_quantile(probability, degrees), t, 1e-10);
    expect_close(student_t_quantile(1 - probability, degrees), -t, 1e-10);
    expect_close(student_t_cdf(t, degrees), probability, 1e-11);
  }
  EXPECT_EQ(student_t_quantile(0.5, 3), 0);
  EXPECT_THROW(student_t_quantile(0.975, 0), std::logic_error);
}

TEST(StudentT, TailsKeepTheirDigits) {
  const struct {
    double t, degrees, probability;
  } table[] = {
      {-12.5, 3.0, 0.0005518156655480292},   {-4.0, 9.0, 0.0015552141551929272}, {-6.0, 199.0, 4.58908500202235e-09},
      {-3.0, 9999.0, 0.0013532244278561733}, {-0.2, 1.5, 0.43259683837288393},
  };
  for (const auto& [t, degrees, probability] : table) expect_close(student_t_cdf(t, degrees), probability, 1e-11);
}

TEST(StudentT, OneDegreeIsCauchyAndTwoHaveAClosedForm) {
  for (const double p : {0.6, 0.9, 0.975, 0.999999}) {
    expect_close(student_t_quantile(p, 1), std::tan(std::numbers::pi * (p - 0.5)), 1e-9);
    expect_close(student_t_quantile(p, 2), (2 * p - 1) / std::sqrt(2 * p * (1 - p)), 1e-9);
  }
}

TEST(Binomial, AgreesWithScipy) {
  const struct {
    std::uint64_t successes, trials;
    double chance, mass, cdf;
  } table[] = {
      {0, 5, 0.5, 0.031249999999999976, 0.03125},
      {3, 10, 0.5, 0.1171875, 0.171875},
      {40, 100, 0.5, 0.010843866711637978, 0.028443966820490444},
      {4900, 10000, 0.5, 0.0010798643294333704, 0.023292763852473225},
      {12, 40, 0.2, 0.04426361354568243, 0.9567583776236763},
      {30, 30, 0.9, 0.04239115827521624, 1.0},
  };
  for (const auto& [successes, trials, chance, mass, cdf] : table) {
    SCOPED_TRACE(testing::Message() << successes << ' ' << trials);
    expect_close(binomial_mass(successes, trials, chance), mass, 1e-10);
    expect_close(binomial_cdf(successes, trials, chance), cdf, 1e-10);
  }
  EXPECT_EQ(binomial_mass(4, 3, 0.5), 0);
}

TEST(Binomial, MassesSumToTheDistribution) {
  double sum = 0;
  for (std::uint64_t k = 0; k <= 37; ++k) {
    sum += binomial_mass(k, 37, 0.3);
    EXPECT_NEAR(binomial_cdf(k, 37, 0.3), sum, 1e-13);
  }
}

}  // namespace
}  // namespace hopyard::rigor
