import type { ColumnOf } from './expressions.ts'
import { column, draftOf } from './expressions.ts'
import type { Feature, FeatureDraft } from './features.ts'
import type { Fields } from './fields.ts'
import { DEFINITION } from './marks.ts'
import type { Operators } from './operators.ts'
import type { DecayWindow } from './windows.ts'

/** The events of a source: a column per field, and the aggregators. A field named as one of these is `field('name')`. */
export type Rows<F extends Fields> = Operators & {
  field<const N extends keyof F>(name: N): ColumnOf<F[N]>
} & { readonly [N in Exclude<keyof F, keyof Operators | 'field'>]: ColumnOf<F[N]> }

/**
 * The places of an operator's arguments before its options. `column?` may be left out; `halfLife` makes a decay window;
 * what is none of the words below is the name of a parameter.
 */
type Places = readonly string[]

const COLUMN: Places = ['column', 'window']
const ROWS: Places = ['column?', 'window']
const COLUMN_BY: Places = ['column', 'by', 'window']
const COLUMN_N: Places = ['column', 'n', 'window']

const PLACES: Readonly<Record<keyof Operators, Places>> = {
  count: ROWS,
  sum: COLUMN,
  sumOfSquares: COLUMN,
  mean: COLUMN,
  variance: COLUMN,
  std: COLUMN,
  skew: COLUMN,
  kurtosis: COLUMN,
  min: COLUMN,
  max: COLUMN,
  first: COLUMN,
  last: COLUMN,
  firstN: COLUMN_N,
  lastN: COLUMN_N,
  argMin: COLUMN_BY,
  argMax: COLUMN_BY,
  topN: COLUMN_N,
  bottomN: COLUMN_N,
  distinct: COLUMN,
  distinctSet: COLUMN,
  lastNDistinct: COLUMN_N,
  entropy: COLUMN,
  topK: ['column', 'k', 'window'],
  histogram: ['column', 'edges', 'window'],
  categoryHistogram: ['column', 'categories', 'window'],
  countPerCategory: COLUMN,
  topCategoryRatio: COLUMN,
  quantile: ['column', 'q', 'window'],
  median: COLUMN,
  timeSinceFirst: ROWS,
  timeSinceLast: ROWS,
  gapMean: ROWS,
  gapStd: ROWS,
  rate: ROWS,
  longestStreak: COLUMN,
  decayedCount: ['column?', 'halfLife'],
  decayedSum: ['column', 'halfLife'],
  decayedMean: ['column', 'halfLife'],
  vectorSum: COLUMN,
  vectorMean: COLUMN,
  vectorMin: COLUMN,
  vectorMax: COLUMN,
}

/** The names of all aggregators that an author can write. */
export const OPERATOR_NAMES: readonly string[] = Object.keys(PLACES)

/** What is no window must be meant as a column, so that a wrong column is reported as one. */
function isWindow(value: unknown): boolean {
  return typeof value === 'string' || (typeof value === 'object' && value !== null && 'kind' in value)
}

function operator(family: string, places: Places): (...args: readonly unknown[]) => Feature<never> {
  return (...args) => {
    const given = [...args]
    const draft: { -readonly [K in keyof FeatureDraft]: FeatureDraft[K] } = {
      family,
      params: {},
      input: null,
      by: null,
      window: undefined,
      options: {},
    }
    for (const place of places) {
      if (place === 'column?' && isWindow(given[0])) continue
      const value = given.shift()
      if (place === 'column' || place === 'column?') draft.input = draftOf(value)
      else if (place === 'by') draft.by = draftOf(value)
      else if (place === 'window') draft.window = value
      else if (place === 'halfLife') draft.window = { kind: 'decay', halfLife: value } satisfies DecayWindow
      else draft.params = { ...draft.params, [place]: value }
    }
    const [options] = given
    const entries = typeof options === 'object' && options !== null ? Object.entries(options) : []
    draft.options = Object.fromEntries(entries.filter(entry => entry[1] !== undefined))
    return { [DEFINITION]: 'feature', draft } as unknown as Feature<never>
  }
}

const OPERATORS = Object.fromEntries(
  Object.entries(PLACES).map(([family, places]) => [family, operator(family, places)]),
)

/** Any name that is not an aggregator gives a column; the plan says which names are no fields. */
export function rows<F extends Fields>(): Rows<F> {
  const target = { ...OPERATORS, field: column } as unknown as Rows<F>
  return new Proxy(target, {
    get: (operators, name) => {
      if (typeof name === 'symbol' || Object.hasOwn(operators, name)) return Reflect.get(operators, name) as unknown
      return column(name)
    },
  })
}
