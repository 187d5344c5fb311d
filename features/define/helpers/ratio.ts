/**
 * The value, never −0; null for a NaN that comes from the arithmetic (∞ − ∞, 0 × ∞, ∞ / ∞) and not from an input.
 * So in all functions of this file null stays null, a NaN that is given stays NaN, and none is made.
 */
function settled(value: number, ...inputs: readonly number[]): number | null {
  return Number.isNaN(value) && !inputs.some(Number.isNaN) ? null : value + 0
}

/** Options of `ratio`. */
export interface RatioOptions {
  /** The answer for a denominator of 0, whatever the numerator; null by default. */
  readonly whenZero?: number | null
}

/**
 * `numerator / denominator`, in the unit of the first per unit of the second.
 *
 * Null when either is null, and when the denominator is 0 unless `whenZero` says otherwise.
 */
export function ratio(numerator: number | null, denominator: number | null, options: RatioOptions = {}): number | null {
  if (numerator === null || denominator === null) return null
  if (denominator === 0) return options.whenZero ?? null
  return settled(numerator / denominator, numerator, denominator)
}

/**
 * `part / whole` within 0 to 1, without unit: a part that is greater than its whole, as an estimated distinct count can
 * be, gives 1, and a negative one 0.
 *
 * Null when either is null and when the whole is 0.
 */
export function share(part: number | null, whole: number | null): number | null {
  const value = ratio(part, whole)
  return value === null ? null : Math.min(Math.max(value, 0), 1) + 0
}

/**
 * `(x − mean) / std`: how many standard deviations `x` lies above the mean (below it when negative).
 *
 * Null when any of the three is null and when the standard deviation is 0: one value, or all equal, say nothing about
 * what is usual.
 */
export function zScore(x: number | null, mean: number | null, std: number | null): number | null {
  if (x === null || mean === null || std === null || std === 0) return null
  return settled((x - mean) / std, x, mean, std)
}

/** `a − b`, in their unit. Null when either is null. */
export function difference(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : settled(a - b, a, b)
}

/**
 * `(now − before) / |before|`: 0.5 for half as much again, −1 for a fall to nothing; the sign is the direction of the
 * change for negative values too.
 *
 * Null when either is null and when `before` is 0.
 */
export function relativeChange(now: number | null, before: number | null): number | null {
  if (now === null || before === null || before === 0) return null
  return settled((now - before) / Math.abs(before), now, before)
}

/** A map from categories to numbers as features answer it: pairs, each category once. */
export type CategoryPairs = readonly (readonly [category: string, value: number])[]

/**
 * The number beside a category; 0 for a category that is not listed. A bounded map lists the categories that fitted,
 * so 0 means "not among those".
 *
 * Null when the map or the category is null.
 */
export function countOf(pairs: CategoryPairs | null, category: string | null): number | null {
  if (pairs === null || category === null) return null
  for (const [name, value] of pairs) if (name === category) return value
  return 0
}

/**
 * The share of a category: its number over the sum of all that are listed, 0 to 1; 0 for one that is not listed.
 *
 * Null when the map or the category is null and when the sum is 0, so for an empty map.
 */
export function shareOf(pairs: CategoryPairs | null, category: string | null): number | null {
  if (pairs === null) return null
  let total = 0
  for (const [, value] of pairs) total += value
  return share(countOf(pairs, category), total)
}

/**
 * `1 − distinct / messages`: the share of messages that repeat another one, from `distinct` over the text (or its hash)
 * and `count` of the same field over the same window. 0 when all differ; (n − 1) / n when all n are the same.
 *
 * Null when either is null and when there are no messages; within 0 to 1 also where `distinct` is an estimate.
 */
export function repeatedShare(distinctMessages: number | null, messages: number | null): number | null {
  return share(difference(messages, distinctMessages), messages)
}
