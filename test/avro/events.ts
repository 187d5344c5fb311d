import * as fc from 'fast-check'
import type { Cell, FieldType } from '../../features/kernel/types.ts'
import type { SourcePlan } from '../../features/plan/plan.ts'
import type { SchemaStore } from '../../topology/adapters/value-format/schema-store.ts'

export const NOW = 1_800_000_000_000

const SAFE = Number.MAX_SAFE_INTEGER
const text = fc.string({ unit: 'grapheme', maxLength: 40 })
const edges = (limit: number) =>
  fc.oneof(
    fc.integer({ min: -70, max: 70 }),
    fc.maxSafeInteger().filter(value => Math.abs(value) <= limit),
    fc.nat({ max: 52 }).map(bits => 2 ** bits),
    fc.nat({ max: 52 }).map(bits => -(2 ** bits) - 1),
    fc.constantFrom(limit, -limit),
  )
const plainDouble = fc.double({ noNaN: true, noDefaultInfinity: true }).map(value => value + 0)

function cellOf(type: FieldType): fc.Arbitrary<Cell> {
  switch (type.kind) {
    case 'string':
      return text
    case 'boolean':
      return fc.boolean()
    case 'int':
    case 'decimal':
      return edges(SAFE)
    case 'int64':
      return fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), edges(SAFE).map(BigInt))
    case 'double':
      return fc.oneof(
        fc.double().map(value => value + 0),
        fc.constantFrom(NaN, Infinity, -Infinity, 5e-324),
      )
    case 'timestamp':
      return fc.integer({ min: 100_000_000_000, max: NOW })
    case 'vector':
      return fc.array(plainDouble, { minLength: type.length, maxLength: type.length })
  }
}

/** The cells of a valid event of the source, null where a field is optional now and then. */
export function cellsOf(source: SourcePlan): fc.Arbitrary<readonly Cell[]> {
  return fc.tuple(
    ...source.fields.map(({ name, type, optional }) => {
      const cell = name === source.idField ? fc.string({ minLength: 1, maxLength: 20 }) : cellOf(type)
      return optional ? fc.option(cell, { nil: null, freq: 3 }) : cell
    }),
  )
}

/** Schemas that are all known, without a registry. */
export function knownSchemas(schemas: ReadonlyMap<number, string>): SchemaStore {
  return {
    get: id => ({ text: schemas.get(id) ?? null }),
    isMissing: () => false,
    fetch: () => Promise.resolve(),
    idOf: () => Promise.reject(new Error('nothing is registered here')),
  }
}
