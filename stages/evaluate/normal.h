/* The standard normal distribution. */
#pragma once

/* x with P(Z ≤ x) = p (Acklam's rational approximation, refined by one Halley step). */
double normal_quantile(double p);
