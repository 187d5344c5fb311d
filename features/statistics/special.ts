const LANCZOS_G = 7
const LANCZOS = [
  0.9999999999998099, 676.5203681218851, -1259.1392167224028, 771.3234287776531, -176.6150291621406, 12.507343278686905,
  -0.13857109526572012, 9.984369578019572e-6, 1.5056327351493116e-7,
]
const MAX_ITERATIONS = 1000
const EPSILON = 1e-16
const TINY = 1e-300

/**
 * Natural logarithm of the gamma function for `x > 0`; relative error below 1e-13.
 * Source: C. Lanczos, "A Precision Approximation of the Gamma Function", SIAM J. Numer. Anal. B 1 (1964), with g = 7
 * and nine coefficients.
 */
export function logGamma(x: number): number {
  if (!(x > 0)) throw new RangeError(`logGamma needs a positive number, not ${x}`)
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x)
  const shifted = x - 1
  let sum = LANCZOS[0] ?? 1
  for (let i = 1; i < LANCZOS.length; i += 1) sum += (LANCZOS[i] ?? 0) / (shifted + i)
  const t = shifted + LANCZOS_G + 0.5
  return 0.5 * Math.log(2 * Math.PI) + (shifted + 0.5) * Math.log(t) - t + Math.log(sum)
}

/**
 * The regularised upper incomplete gamma function Q(a, x) = Γ(a, x) / Γ(a), for `a > 0` and `x ≥ 0`; between 0 and 1.
 * Source: Press et al., Numerical Recipes, 3rd edition, section 6.2 (series below a + 1, Lentz's continued fraction
 * above).
 */
export function upperGamma(a: number, x: number): number {
  if (!(a > 0)) throw new RangeError(`upperGamma needs a positive shape, not ${a}`)
  if (Number.isNaN(x)) throw new RangeError('upperGamma needs a number, not NaN')
  if (x <= 0) return 1
  if (x === Infinity) return 0
  const scale = Math.exp(a * Math.log(x) - x - logGamma(a))
  return x < a + 1 ? Math.max(0, 1 - scale * lowerSeries(a, x)) : Math.min(1, scale * upperFraction(a, x))
}

function lowerSeries(a: number, x: number): number {
  let term = 1 / a
  let sum = term
  for (let n = 1; n < MAX_ITERATIONS; n += 1) {
    term *= x / (a + n)
    sum += term
    if (term < sum * EPSILON) break
  }
  return sum
}

function upperFraction(a: number, x: number): number {
  let b = x + 1 - a
  let c = 1 / TINY
  let d = 1 / b
  let h = d
  for (let i = 1; i < MAX_ITERATIONS; i += 1) {
    const an = -i * (i - a)
    b += 2
    d = 1 / nonZero(an * d + b)
    c = nonZero(b + an / c)
    const factor = d * c
    h *= factor
    if (Math.abs(factor - 1) < EPSILON * 4) break
  }
  return h
}

function nonZero(value: number): number {
  return Math.abs(value) < TINY ? TINY : value
}

/** P(χ² > x) for `degrees` degrees of freedom: Q(degrees / 2, x / 2). */
export function chiSquareTail(x: number, degrees: number): number {
  return upperGamma(degrees / 2, x / 2)
}

/**
 * The value that χ² with `degrees` degrees of freedom stays below with probability `p`, 0 < p < 1: Newton's method on
 * `chiSquareTail`, kept inside a shrinking bracket.
 */
export function chiSquareQuantile(p: number, degrees: number): number {
  if (!(p > 0 && p < 1)) throw new RangeError(`chiSquareQuantile needs a probability between 0 and 1, not ${p}`)
  const tail = 1 - p
  let low = 0
  let high = degrees + 10
  while (chiSquareTail(high, degrees) > tail) high *= 2
  let x = degrees
  for (let i = 0; i < MAX_ITERATIONS; i += 1) {
    const excess = chiSquareTail(x, degrees) - tail
    if (excess > 0) low = x
    else high = x
    const next = x + excess / chiSquareDensity(x, degrees)
    const inside = next > low && next < high ? next : (low + high) / 2
    if (Math.abs(inside - x) <= 1e-14 * x || inside === x) return inside
    x = inside
  }
  return x
}

function chiSquareDensity(x: number, degrees: number): number {
  const half = degrees / 2
  return Math.exp((half - 1) * Math.log(x / 2) - x / 2 - logGamma(half)) / 2
}

/** P(|Z| > |z|) of a standard normal Z: erfc(|z| / √2) = Q(1/2, z² / 2). */
export function normalTwoSided(z: number): number {
  return upperGamma(0.5, (z * z) / 2)
}

/** The mean of the χ distribution (the root of χ²): √2 · Γ((k + 1) / 2) / Γ(k / 2). */
export function chiMean(degrees: number): number {
  return Math.SQRT2 * Math.exp(logGamma((degrees + 1) / 2) - logGamma(degrees / 2))
}
