import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  AGGREGATORS,
  DIRECTORY_BLOCK,
  SECTION_VERSION,
  decodeSection,
  encodeSection,
} from '../../features/kernel/index.ts'
import type { UnitAnswer } from '../../features/kernel/index.ts'
import { hex, textOfValues } from './logs.ts'
import { fromJson, pointFrom, unitOf } from './recorded-units.ts'
import type { RecordedPoint, RecordedUnit } from './recorded-units.ts'
import { StoredUnit, readStored } from './stored.ts'

interface Recorded {
  readonly unit: RecordedUnit
  /** Of each partial's aggregator. */
  readonly versions: readonly number[]
  readonly points: readonly RecordedPoint[]
  readonly head: string
  readonly blocks: readonly (readonly [id: number, bytes: string])[]
  readonly answers: readonly { readonly t: number; readonly answer: UnitAnswer }[]
}

const FOLDER = join(import.meta.dirname, 'recorded')
const FILES = readdirSync(FOLDER).filter(name => /^sections-v[0-9]+\.json$/.test(name))

const bytesOf = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits, 'hex'))

/** Of one family, unless an aggregator's own encoding has a new version: then the state has a new hash, and a new unit. */
function isStillRead({ unit, versions }: Recorded): boolean {
  return unitOf(unit).spec.partials.every(
    ({ aggregator }, index) => (aggregator.inner ?? aggregator).version === versions[index],
  )
}

describe.each(FILES)('state recorded in %s', file => {
  const all = fromJson<readonly Recorded[]>(readFileSync(join(FOLDER, file), 'utf8'))
  const current = file === `sections-v${SECTION_VERSION}.json`
  const named = all.map((recorded, index) => ({ recorded, name: `${index}: ${recorded.unit.partials[0]!.family}` }))

  it('holds every family of the version that it records', () => {
    const families = new Set(all.flatMap(({ unit }) => unit.partials.map(partial => partial.family)))
    if (current) expect([...families].sort()).toEqual(AGGREGATORS.map(({ family }) => family).sort())
    expect(families.size).toBeGreaterThan(0)
  })

  it.each(named)('$name is read as it was then', ({ recorded }) => {
    if (!isStillRead(recorded)) return
    const { spec, reads } = unitOf(recorded.unit)
    const store = new StoredUnit(spec)
    store.bytes = bytesOf(recorded.head)
    for (const [id, bytes] of recorded.blocks) store.blocks.set(id, bytesOf(bytes))
    for (const { t, answer } of recorded.answers) {
      expect(textOfValues(readStored(spec, reads, [store], t, null).answer), `at ${t}`).toBe(textOfValues(answer))
    }
    if (current)
      expect(hex(encodeSection(spec, decodeSection(spec, store.bytes, store.blocks.get(DIRECTORY_BLOCK))).bytes)).toBe(
        recorded.head,
      )
  })

  it.runIf(current).each(named)('$name is stored as it was then', ({ recorded }) => {
    if (!isStillRead(recorded)) return
    const store = new StoredUnit(unitOf(recorded.unit).spec)
    for (const point of recorded.points) store.apply(pointFrom(point))
    store.flush()
    expect(hex(store.bytes)).toBe(recorded.head)
    expect([...store.blocks].sort(([a], [b]) => a - b).map(([id, bytes]) => [id, hex(bytes)])).toEqual(recorded.blocks)
  })
})

it('there is a recording of the version that this build writes', () => {
  expect(FILES).toContain(`sections-v${SECTION_VERSION}.json`)
})
