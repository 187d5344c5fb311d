import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AGGREGATORS } from '../../features/kernel/aggregators/index.ts'
import { createReader, createWriter } from '../../features/kernel/encoding.ts'
import { comparePoints } from '../../features/kernel/order.ts'
import type { Aggregator, Input, ReadAt } from '../../features/kernel/types.ts'
import { FAMILY_PARAMS } from './family-params.ts'
import { inputsOf, TYPES } from './inputs.ts'

/** One random instance on which every law is tried. */
export interface LawCase {
  readonly a: readonly Input[]
  readonly b: readonly Input[]
  readonly c: readonly Input[]
  /** Sort keys that permute the inputs of all three lists. */
  readonly shuffle: readonly number[]
}

/** A law says what is wrong with an aggregator on a case, or null. */
interface Law {
  readonly name: string
  readonly broken: (aggregator: Aggregator, instance: LawCase) => string | null
}

/** Runs per aggregator; `HEADWATER_LAW_RUNS` overrides. */
export const LAW_RUNS = Number(process.env['HEADWATER_LAW_RUNS'] ?? 1000)

/** `HEADWATER_LAW_SEED` for every aggregator; without it fast-check draws one, and prints it with what fails. */
const LAW_SEED =
  process.env['HEADWATER_LAW_SEED'] === undefined ? {} : { seed: Number(process.env['HEADWATER_LAW_SEED']) }

/** The instant at which results are compared. */
const AT: ReadAt = { t: 1_700_000_000_000, lengthMs: 3_600_000 }

/** The bytes of a state as text, so that they can be compared and shown. */
export function bytesOf(aggregator: Aggregator, state: unknown): string {
  const out = createWriter(16)
  aggregator.encode(state, out)
  return Buffer.from(out.finish()).toString('hex')
}

/** The state of inputs added in order. */
export function stateOf(aggregator: Aggregator, inputs: readonly Input[]): unknown {
  let state = aggregator.empty()
  for (const input of inputs) state = aggregator.add(state, input)
  return state
}

function differs(aggregator: Aggregator, left: unknown, right: unknown): string | null {
  const leftBytes = bytesOf(aggregator, left)
  const rightBytes = bytesOf(aggregator, right)
  if (leftBytes !== rightBytes) return `bytes ${leftBytes} and ${rightBytes}`
  const leftResult = aggregator.result(left, AT)
  const rightResult = aggregator.result(right, AT)
  return same(leftResult, rightResult) ? null : `results ${String(leftResult)} and ${String(rightResult)}`
}

function same(left: unknown, right: unknown): boolean {
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((value, index) => same(value, right[index]))
  }
  return Object.is(left, right)
}

function permuted(instance: LawCase): Input[] {
  const inputs = [...instance.a, ...instance.b, ...instance.c]
  const key = (index: number): number => instance.shuffle[index % instance.shuffle.length]! + index * 1e-9
  return inputs
    .map((input, index) => ({ input, key: key(index) }))
    .sort((left, right) => left.key - right.key)
    .map(entry => entry.input)
}

/** Merges singletons pairwise, as a tree. */
function treeOf(aggregator: Aggregator, inputs: readonly Input[]): unknown {
  if (inputs.length === 0) return aggregator.empty()
  if (inputs.length === 1) return stateOf(aggregator, inputs)
  const middle = inputs.length >> 1
  return aggregator.merge(treeOf(aggregator, inputs.slice(0, middle)), treeOf(aggregator, inputs.slice(middle)))
}

/** The laws of `Aggregator`; those about order hold for the kind `merge` only. */
export const LAWS: readonly Law[] = [
  {
    name: 'merge is associative',
    broken: (g, { a, b, c }) => {
      const [x, y, z] = [stateOf(g, a), stateOf(g, b), stateOf(g, c)]
      return differs(g, g.merge(g.merge(x, y), z), g.merge(x, g.merge(y, z)))
    },
  },
  {
    name: 'merge is commutative',
    broken: (g, { a, b }) => {
      if (g.kind !== 'merge') return null
      const [x, y] = [stateOf(g, a), stateOf(g, b)]
      return differs(g, g.merge(x, y), g.merge(y, x))
    },
  },
  {
    name: 'empty is the unit of merge',
    broken: (g, { a }) => {
      const x = stateOf(g, a)
      return differs(g, g.merge(x, g.empty()), x) ?? differs(g, g.merge(g.empty(), x), x)
    },
  },
  {
    name: 'add equals merge of a singleton',
    broken: (g, { a, b }) => {
      for (const input of b) {
        const merged = g.merge(stateOf(g, a), stateOf(g, [input]))
        const found = differs(g, g.add(stateOf(g, a), input), merged)
        if (found !== null) return found
      }
      return null
    },
  },
  {
    name: 'add returns its first argument',
    broken: (g, { a }) => {
      const state = g.empty()
      return a.every(input => g.add(state, input) === state) ? null : 'another state'
    },
  },
  {
    name: 'decode after encode is identity',
    broken: (g, { a, b }) => {
      const state = stateOf(g, a)
      const out = createWriter(16)
      g.encode(state, out)
      const input = createReader(out.finish())
      const decoded = g.decode(input)
      if (input.remaining !== 0) return `${input.remaining} bytes left`
      const found = differs(g, decoded, state)
      if (found !== null) return found
      const later = stateOf(g, b)
      return differs(g, g.merge(decoded, later), g.merge(state, later))
    },
  },
  {
    name: 'absorb is merge with the encoded state',
    broken: (g, { a, b }) => {
      if (g.absorb === undefined) return null
      const out = createWriter(16)
      g.encode(stateOf(g, b), out)
      const input = createReader(out.finish())
      const absorbed = g.absorb(stateOf(g, a), input)
      if (input.remaining !== 0) return `${input.remaining} bytes left`
      return differs(g, absorbed, g.merge(stateOf(g, a), stateOf(g, b)))
    },
  },
  {
    name: 'an idempotent merge with itself changes nothing',
    broken: (g, { a }) => {
      if (g.idempotent !== true) return null
      const x = stateOf(g, a)
      return differs(g, g.merge(x, x), x)
    },
  },
  {
    name: 'a decisive row makes the others of its order superfluous',
    broken: (g, { a }) => {
      if (g.decisive === undefined) return null
      const ordered = [...new Map(a.map(input => [`${input.time} ${input.id}`, input])).values()].sort(comparePoints)
      const valued = ordered.some(input => input.cell !== null) ? ordered.filter(input => input.cell !== null) : ordered
      const one = valued.slice(g.decisive === 'last' ? -1 : 0, g.decisive === 'last' ? undefined : 1)
      return differs(g, stateOf(g, valued), stateOf(g, one))
    },
  },
  {
    name: 'equal states have equal bytes',
    broken: (g, instance) => {
      if (g.kind !== 'merge') return null
      const inputs = [...instance.a, ...instance.b, ...instance.c]
      const straight = stateOf(g, inputs)
      const shuffled = permuted(instance)
      return (
        differs(g, straight, stateOf(g, shuffled)) ??
        differs(g, straight, treeOf(g, shuffled)) ??
        differs(g, straight, g.merge(stateOf(g, instance.c), g.merge(stateOf(g, instance.a), stateOf(g, instance.b))))
      )
    },
  },
  {
    name: 'merge changes neither argument, nor shares what add changes',
    broken: (g, { a, b, c }) => {
      const [x, y] = [stateOf(g, a), stateOf(g, b)]
      const [xBefore, yBefore] = [bytesOf(g, x), bytesOf(g, y)]
      let merged = g.merge(x, y)
      const mergedBefore = bytesOf(g, merged)
      for (const input of c) merged = g.add(merged, input)
      g.result(merged, AT)
      if (bytesOf(g, x) !== xBefore) return 'the left argument changed'
      if (bytesOf(g, y) !== yBefore) return 'the right argument changed'
      const again = g.merge(x, y)
      for (const input of c) {
        g.add(x, input)
        g.add(y, input)
      }
      return bytesOf(g, again) === mergedBefore ? null : 'the merged state changed with its arguments'
    },
  },
]

/** Random cases over random inputs; `ordered` for the kind concat, whose lists follow each other in the total order. */
export function lawCases(inputs: fc.Arbitrary<Input>, ordered: boolean): fc.Arbitrary<LawCase> {
  const list = fc.array(inputs, { maxLength: 7 })
  const cases = fc.record({
    a: list,
    b: list,
    c: list,
    shuffle: fc.array(fc.nat(1000), { minLength: 1, maxLength: 21 }),
  })
  if (!ordered) return cases
  return cases.map(({ a, b, c, shuffle }) => {
    const all = [...a, ...b, ...c].sort(comparePoints)
    const second = a.length + b.length
    return { a: all.slice(0, a.length), b: all.slice(a.length, second), c: all.slice(second), shuffle }
  })
}

/** Registers a test that tries every law on `LAW_RUNS` random cases; fast-check prints seed and smallest case. */
export function lawSuite(name: string, aggregator: Aggregator, inputs: fc.Arbitrary<Input>): void {
  describe(`algebra of ${name}`, () => {
    it('keeps every law', () => {
      const property = fc.property(lawCases(inputs, aggregator.kind === 'concat'), instance => {
        for (const law of LAWS) {
          const broken = law.broken(aggregator, instance)
          if (broken !== null) throw new Error(`${law.name}: ${broken}`)
        }
      })
      const outcome = fc.check(property, { numRuns: LAW_RUNS, ...LAW_SEED })
      expect(fc.defaultReportMessage(outcome)).toBeUndefined()
    })
  })
}

/** In how many files the suites of all families run, so that they run side by side. */
const FAMILY_FILES = 4

/** Registers the suites of every fourth family, from the given one on, over all types and the parameters it is tried with. */
export function familySuites(from: 0 | 1 | 2 | 3): void {
  for (const descriptor of AGGREGATORS.filter((_, index) => index % FAMILY_FILES === from)) {
    for (const type of [null, ...TYPES].filter(each => descriptor.accepts(each))) {
      for (const byType of [null, ...TYPES].filter(each => descriptor.acceptsBy(each))) {
        for (const params of FAMILY_PARAMS[descriptor.family] ?? [{}]) {
          const aggregator = descriptor.make(type, params, byType)
          lawSuite(aggregator.name, aggregator, inputsOf(type, byType))
        }
      }
    }
  }
}

/** The names of the laws that an aggregator is found to break. */
export function brokenLaws(aggregator: Aggregator, inputs: fc.Arbitrary<Input>, runs: number, seed: number): string[] {
  return LAWS.filter(law => {
    const property = fc.property(
      lawCases(inputs, aggregator.kind === 'concat'),
      instance => law.broken(aggregator, instance) === null,
    )
    return fc.check(property, { numRuns: runs, seed, endOnFailure: true }).failed
  }).map(law => law.name)
}
