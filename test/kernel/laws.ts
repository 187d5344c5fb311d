import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createReader, createWriter } from '../../features/kernel/encoding.ts'
import type { Aggregator, Input } from '../../features/kernel/types.ts'

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
  const leftResult = aggregator.result(left)
  const rightResult = aggregator.result(right)
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
      g.result(merged)
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

/** Random cases over random inputs. */
export function lawCases(inputs: fc.Arbitrary<Input>): fc.Arbitrary<LawCase> {
  const list = fc.array(inputs, { maxLength: 7 })
  return fc.record({ a: list, b: list, c: list, shuffle: fc.array(fc.nat(1000), { minLength: 1, maxLength: 21 }) })
}

/** Registers a test that tries every law on `LAW_RUNS` random cases; fast-check prints seed and smallest case. */
export function lawSuite(name: string, aggregator: Aggregator, inputs: fc.Arbitrary<Input>): void {
  describe(`algebra of ${name}`, () => {
    it('keeps every law', () => {
      const property = fc.property(lawCases(inputs), instance => {
        for (const law of LAWS) {
          const broken = law.broken(aggregator, instance)
          if (broken !== null) throw new Error(`${law.name}: ${broken}`)
        }
      })
      const outcome = fc.check(property, { numRuns: LAW_RUNS })
      expect(fc.defaultReportMessage(outcome)).toBeUndefined()
    })
  })
}

/** The names of the laws that an aggregator is found to break. */
export function brokenLaws(aggregator: Aggregator, inputs: fc.Arbitrary<Input>, runs: number, seed: number): string[] {
  return LAWS.filter(law => {
    const property = fc.property(lawCases(inputs), instance => law.broken(aggregator, instance) === null)
    return fc.check(property, { numRuns: runs, seed, endOnFailure: true }).failed
  }).map(law => law.name)
}
