import fc from 'fast-check'
import { beforeEach, expect, it } from 'vitest'
import type { Lane, OnlineStore } from '../../topology/ports/online-store.ts'
import { at, blockId, bytes, fresh, loading, plain, reading, sorted, write } from './online-store-harness.ts'
import type { Beside, OnlineStoreContext, OnlineStoreSubject } from './online-store-harness.ts'
import { modelOnlineStore } from './online-store-model.ts'

/** Random sequences of operations against the model. */
export function propertyConformance(context: OnlineStoreContext): void {
  let store: OnlineStore
  let subject: OnlineStoreSubject
  beforeEach(() => {
    ;({ store, subject } = context)
  })

  it('answers any sequence of operations as the model does', { timeout: 60_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(operation(subject.handMovedClock), { maxLength: 30 }), async operations => {
        const run = { namespace: fresh('ns'), life: fresh('life') }
        const model = modelOnlineStore()
        for (const one of operations) {
          const [actual, expected] = [await perform(one, store, run), await perform(one, model.store, run)]
          expect(actual).toEqual(expected)
          if (one.kind === 'advance') {
            await subject.advanceMs(one.ms)
            model.advanceMs(one.ms)
          }
        }
      }),
      { numRuns: 250 },
    )
  })
}

type Operation =
  | { readonly kind: 'initialise'; readonly lane: number; readonly offset: number }
  | {
      readonly kind: 'flush'
      readonly lane: number
      readonly shards: readonly {
        readonly shard: number
        readonly expected: number
        readonly next: number
        readonly writes: readonly {
          readonly key: number
          readonly position: number
          readonly byte: number
          readonly ttlMs: number
          readonly beside: Beside
        }[]
      }[]
    }
  | {
      readonly kind: 'load'
      readonly lane: number
      readonly shard: number
      readonly expected: number
      readonly ids: readonly number[]
    }
  | { readonly kind: 'read'; readonly ids: readonly number[] }
  | { readonly kind: 'canaries'; readonly lane: number }
  | { readonly kind: 'document'; readonly expected: string | null; readonly next: string }
  | { readonly kind: 'advance'; readonly ms: number }

const SHARDS = 3
const KEYS_PER_SHARD = 2

function operation(handMovedClock: boolean): fc.Arbitrary<Operation> {
  const lane = fc.integer({ min: 0, max: 3 })
  const offset = fc.integer({ min: -1, max: 6 })
  const shard = fc.integer({ min: 0, max: SHARDS - 1 })
  const id = fc
    .tuple(fc.constantFrom(0, 2), fc.integer({ min: -2, max: 2 }))
    .map(([level, index]) => blockId(level, index))
  const every = [0, 2].flatMap(level => [-2, -1, 0, 1, 2].map(index => blockId(level, index)))
  const ids = fc.oneof({ weight: 3, arbitrary: fc.constant(every) }, fc.uniqueArray(id))
  const beside: fc.Arbitrary<Beside> = fc.record({
    levels: fc.constantFrom(0, 1, 4, 5),
    base: fc.oneof({ weight: 4, arbitrary: fc.constant(-1) }, fc.integer({ min: 0, max: 4 })),
    blocks: fc
      .uniqueArray(id, { maxLength: 4 })
      .chain(found =>
        fc.tuple(...found.map(each => fc.record({ id: fc.constant(each), bytes: fc.uint8Array({ maxLength: 2 }) }))),
      ),
    drops: fc.array(fc.record({ level: fc.constantFrom(0, 2), belowIndex: fc.integer({ min: -2, max: 3 }) }), {
      maxLength: 2,
    }),
  })
  const writes = fc.array(
    fc.record({
      key: fc.integer({ min: 0, max: KEYS_PER_SHARD - 1 }),
      position: offset,
      byte: fc.integer({ min: 0, max: 255 }),
      ttlMs: handMovedClock ? fc.constantFrom(0, 0, 1000, 5000) : fc.constant(0),
      beside,
    }),
    { maxLength: 3 },
  )
  const shards = fc.array(fc.record({ shard, expected: offset, next: offset, writes }), { minLength: 1, maxLength: 3 })
  const documents = fc.constantFrom<(string | null)[]>('a', 'b', null)
  const text = fc.constantFrom('a', 'b')
  return fc.oneof(
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('initialise' as const), lane, offset }) },
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('flush' as const), lane, shards }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('load' as const), lane, shard, expected: offset, ids }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('read' as const), ids }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('canaries' as const), lane }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('document' as const), expected: documents, next: text }) },
    {
      weight: handMovedClock ? 2 : 0,
      arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.constantFrom(400, 1000, 4000) }),
    },
  )
}

/** Performs one operation and answers something that can be compared. */
async function perform(
  one: Operation,
  store: OnlineStore,
  run: { readonly namespace: string; readonly life: string },
): Promise<unknown> {
  const lane = (index: number): Lane => ({
    unit: 1,
    incarnation: `${run.life}-${index >> 1}`,
    partition: index & 1,
  })
  const key = (shard: number, index: number): string => `hw:${run.namespace}:{${shard}}:card:c${index}:1`
  const indexes = Array.from({ length: KEYS_PER_SHARD }, (_, index) => index)
  switch (one.kind) {
    case 'initialise':
      return store.initialiseCanaries(lane(one.lane), SHARDS, at(one.offset))
    case 'canaries':
      return store.readCanaries(lane(one.lane), SHARDS)
    case 'flush':
      return store.flush(
        lane(one.lane),
        one.shards.map(({ shard, expected, next, writes }) => ({
          shard,
          expected: at(expected),
          next: at(next),
          writes: writes.map(made =>
            write(key(shard, made.key), made.position, bytes(made.byte), made.ttlMs, made.beside),
          ),
        })),
      )
    case 'load': {
      const keys = indexes.map(index => key(one.shard, index))
      const outcome = await store.load(lane(one.lane), one.shard, at(one.expected), loading(keys, one.ids))
      return outcome.ok ? outcome.sections.map(plain) : outcome
    }
    case 'read': {
      const keys = Array.from({ length: SHARDS }, (_, shard) => indexes.map(index => key(shard, index))).flat()
      return (await store.read(reading(keys, one.ids))).map(sorted)
    }
    case 'document': {
      const document = `${run.namespace}:document`
      return [await store.writeDocument(document, one.expected, one.next), await store.readDocument(document)]
    }
    case 'advance':
      return null
  }
}
