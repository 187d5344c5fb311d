import * as fc from 'fast-check'
import type { Cell, FieldType, Input } from '../../features/kernel/types.ts'

/** One type of every kind. */
export const TYPES: readonly FieldType[] = [
  { kind: 'string' },
  { kind: 'boolean' },
  { kind: 'int' },
  { kind: 'int64' },
  { kind: 'double' },
  { kind: 'decimal', scale: 2 },
  { kind: 'decimal', scale: 9 },
  { kind: 'timestamp' },
  { kind: 'vector', length: 3 },
]

const HOSTILE_STRINGS = [
  '',
  'a',
  'b',
  'ab',
  'a\u0000',
  'é',
  '\uFEFFx',
  '\uD7FF',
  '\uE000',
  '\uFFFD',
  '\u{1F600}',
  '\u{10FFFF}',
]

/** Strings on both sides of every edge of UTF-16 and UTF-8, with many ties. */
export const strings: fc.Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...HOSTILE_STRINGS) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 6 }) },
)

/** Doubles without −0: everyday amounts, extremes, and now and then NaN or an infinity. */
export const doubles: fc.Arbitrary<number> = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: -100_000, max: 100_000 }).map(cents => cents / 100 + 0) },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      0,
      1,
      -1,
      0.1,
      1e16,
      -1e16,
      1e308,
      -1e308,
      Number.MAX_VALUE,
      -Number.MAX_VALUE,
      5e-324,
      -5e-324,
      2.2250738585072014e-308,
      2 ** 970,
      -(2 ** 970),
      1e-200,
      1e200,
      2 ** -1000,
    ),
  },
  { weight: 4, arbitrary: fc.double({ noNaN: true, noDefaultInfinity: true }).map(value => value + 0) },
  { weight: 1, arbitrary: fc.constantFrom(NaN, Infinity, -Infinity) },
)

const safeIntegers: fc.Arbitrary<number> = fc.oneof(
  fc.integer({ min: -5, max: 5 }),
  fc.constantFrom(Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER, 94906265, 94906266, -94906267, 2 ** 32),
  fc.maxSafeInteger(),
)

const bigIntegers: fc.Arbitrary<bigint> = fc.oneof(
  fc.bigInt({ min: -5n, max: 5n }),
  fc.constantFrom(2n ** 53n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 64n, -(2n ** 200n) - 1n),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
)

/** Cells of a type that are not null. */
export function presentCells(type: FieldType): fc.Arbitrary<Exclude<Cell, null>> {
  switch (type.kind) {
    case 'string':
      return strings
    case 'boolean':
      return fc.boolean()
    case 'int64':
      return bigIntegers
    case 'double':
      return doubles
    case 'vector':
      return fc.array(doubles, { minLength: type.length, maxLength: type.length })
    case 'int':
    case 'decimal':
    case 'timestamp':
      return safeIntegers
  }
}

/** Cells of a type, one in eight of them null; all null without a type. */
export function cellsOf(type: FieldType | null): fc.Arbitrary<Cell> {
  if (type === null) return fc.constant(null)
  return fc.oneof({ weight: 7, arbitrary: presentCells(type) }, { weight: 1, arbitrary: fc.constant(null) })
}

/** Inputs of a type, and of a second one, with ties in time and id and one cell in eight null. */
export function inputsOf(type: FieldType | null, byType: FieldType | null = null): fc.Arbitrary<Input> {
  const times = fc.oneof(fc.constantFrom(0, 1, -1, 1_700_000_000_000), fc.integer({ min: -8.64e15, max: 8.64e15 }))
  const basics = { cell: cellsOf(type), time: times, id: strings }
  return byType === null ? fc.record(basics) : fc.record({ ...basics, by: cellsOf(byType) })
}
