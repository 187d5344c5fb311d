import { freemem } from 'node:os'
import { applyPoint, decodeSection, emptySection, encodeSection, prepareReads } from '../features/kernel/index.ts'
import type { SectionState, StoredSection } from '../features/kernel/index.ts'
import type { Point, UnitSpec } from '../features/kernel/types.ts'
import { DAY, benchPoint, benchUnit, plainApply, plainRead, scattered } from './kernel-unit.ts'
import type { PlainEntity } from './kernel-unit.ts'
import { bestRate, plainRow, ratioRow } from './rows.ts'
import type { BenchRow } from './rows.ts'

const ENTITIES = 100_000
const EVENTS = 1_000_000
const QUIET_EVENTS = 20
const BUSY_EVENTS = 100_000
const ROUNDS = 3
const GIB = 2 ** 30
/** Free memory that ten million stored entities and their bookkeeping need. */
const MOST_ENTITIES_BYTES = 10 * GIB

/** Applying events, storing and reading state, in memory. */
export async function benchKernel(): Promise<readonly BenchRow[]> {
  const rows = [...(await benchApply()), ...(await benchReads())]
  for (const entities of [10_000, 100_000, 1_000_000, 10_000_000]) {
    if (entities === 10_000_000 && freemem() < MOST_ENTITIES_BYTES) {
      process.stderr.write(
        `kernel: ${entities} entities left out, ${Math.floor(freemem() / GIB)} GiB of memory are free\n`,
      )
      continue
    }
    rows.push(...benchStored(entities))
  }
  return rows
}

/** Events of many cards, ten each, over ten days. */
async function benchApply(): Promise<readonly BenchRow[]> {
  const { spec } = benchUnit(12)
  const points = Array.from({ length: EVENTS }, (_, at) => benchPoint(at, Math.floor((at * 10 * DAY) / EVENTS)))
  const keys = Uint32Array.from({ length: EVENTS }, (_, at) => scattered(at, ENTITIES))
  let states: (SectionState | undefined)[] = []
  const applied = await bestRate(ROUNDS, EVENTS, () => {
    states = new Array<SectionState | undefined>(ENTITIES)
    for (let at = 0; at < EVENTS; at++) applyPoint(spec, (states[keys[at]!] ??= emptySection(spec)), points[at]!)
  })
  const plain = await bestRate(ROUNDS, EVENTS, () => {
    const entities = new Array<PlainEntity | undefined>(ENTITIES)
    for (let at = 0; at < EVENTS; at++) {
      plainApply((entities[keys[at]!] ??= { times: [], rows: [], from: 0 }), points[at]!)
    }
  })
  return [
    ratioRow(
      'kernel: events applied, 12 features × 3 windows, 100,000 entities; against plain sorted arrays',
      applied,
      'events/s',
      plain,
    ),
  ]
}

/** One entity's events in order, evenly scattered over the longest window. */
function eventsOfOne(count: number): Point[] {
  return Array.from({ length: count }, (_, at) => benchPoint(at, Math.floor(((at + 1) * 30 * DAY) / count)))
}

/** What a store holds of an entity whose worker flushed every hundred events. */
function storedOf(spec: UnitSpec, points: readonly Point[]): StoredSection & { readonly writtenBytes: number } {
  const state = emptySection(spec)
  const blocks = new Map<number, Uint8Array>()
  let head = encodeSection(spec, state).bytes
  let writtenBytes = 0
  points.forEach((point, at) => {
    applyPoint(spec, state, point)
    if (at % 100 !== 99 && at !== points.length - 1) return
    const image = encodeSection(spec, state)
    head = image.bytes
    writtenBytes += head.length
    for (const { id, bytes } of image.blocks) {
      blocks.set(id, bytes)
      writtenBytes += bytes.length
    }
  })
  return { bytes: head, blocks, writtenBytes }
}

async function benchReads(): Promise<readonly BenchRow[]> {
  const rows: BenchRow[] = []
  const { spec, reads } = benchUnit(20)
  const prepared = prepareReads(spec, reads)
  for (const [what, count] of [
    ['a quiet entity, 20 events', QUIET_EVENTS],
    ['a busy entity, 100,000 events', BUSY_EVENTS],
  ] as const) {
    const points = eventsOfOne(count)
    const t = points[points.length - 1]!.time
    const stored = storedOf(spec, points)
    const wanted = new Set(prepared.blocksFor(t, null))
    const given = { bytes: stored.bytes, blocks: new Map([...stored.blocks].filter(([id]) => wanted.has(id))) }
    const repeats = 5_000
    const reading = await bestRate(ROUNDS, repeats, () => {
      for (let at = 0; at < repeats; at++) prepared.fromBytes([given], t, null)
    })
    const entity = { times: points.map(point => point.time), rows: points, from: 0 }
    const plainRepeats = count === QUIET_EVENTS ? repeats : 50
    const plain = await bestRate(ROUNDS, plainRepeats, () => {
      for (let at = 0; at < plainRepeats; at++) plainRead(entity, t)
    })
    const plainUs = 1e6 / plain
    rows.push(
      ratioRow(
        `kernel: read ${reads.length} features of ${what}; against a plain loop over them`,
        1e6 / reading,
        'µs',
        plainUs,
      ),
    )
    const given1 = [...given.blocks.values()].reduce((sum, bytes) => sum + bytes.length, given.bytes.length)
    const all = [...stored.blocks.values()].reduce((sum, bytes) => sum + bytes.length, stored.bytes.length)
    rows.push(plainRow(`kernel: bytes read for it, head and ${given.blocks.size} blocks`, given1, 'bytes'))
    rows.push(ratioRow('kernel: bytes stored of it; against its fields alone', all, 'bytes', fieldBytes(points)))
    rows.push(
      plainRow('kernel: bytes written per event at a flush every 100 events', stored.writtenBytes / count, 'bytes'),
    )
  }
  return rows
}

/** A lower bound of what any store of these events must hold: their text, 8 bytes a time, 4 an amount, 1 a flag. */
function fieldBytes(points: readonly Point[]): number {
  return points.reduce(
    (sum, { id, cells }) => sum + id.length + 13 + String(cells[1]).length + String(cells[2]).length,
    0,
  )
}

const SLAB_BYTES = 64 * 2 ** 20
const SLOT_BYTES = 128

/** Encoded sections by entity number in large pieces of memory, so that their number costs nothing else. */
class Slabs {
  private readonly slabs: Uint8Array[] = []
  private readonly places: Float64Array
  private readonly sizes: Uint32Array
  private readonly rooms: Uint32Array
  private used = 0
  bytes = 0

  constructor(entities: number) {
    this.places = new Float64Array(entities)
    this.sizes = new Uint32Array(entities)
    this.rooms = new Uint32Array(entities)
  }

  get(entity: number): Uint8Array | null {
    const size = this.sizes[entity]!
    if (size === 0) return null
    const place = this.places[entity]!
    const slab = Math.floor(place / SLAB_BYTES)
    const from = place - slab * SLAB_BYTES
    return this.slabs[slab]!.subarray(from, from + size)
  }

  set(entity: number, bytes: Uint8Array): void {
    if (bytes.length > this.rooms[entity]!) {
      const room = Math.ceil(bytes.length / SLOT_BYTES) * SLOT_BYTES
      if ((this.used % SLAB_BYTES) + room > SLAB_BYTES) this.used = Math.ceil(this.used / SLAB_BYTES) * SLAB_BYTES
      if (this.used % SLAB_BYTES === 0) this.slabs.push(new Uint8Array(SLAB_BYTES))
      this.places[entity] = this.used
      this.rooms[entity] = room
      this.used += room
    }
    this.bytes += bytes.length - this.sizes[entity]!
    this.sizes[entity] = bytes.length
    const place = this.places[entity]!
    const slab = Math.floor(place / SLAB_BYTES)
    this.slabs[slab]!.set(bytes, place - slab * SLAB_BYTES)
  }
}

/** Every event decodes, changes and encodes its entity, as a worker whose cache never hits; three events for each. */
function benchStored(entities: number): readonly BenchRow[] {
  const { spec } = benchUnit(12)
  const stored = new Slabs(entities)
  const store = (from: number, to: number): number => {
    const started = performance.now()
    for (let at = from; at < to; at++) {
      const entity = at % entities
      const bytes = stored.get(entity)
      const state = bytes === null ? emptySection(spec) : decodeSection(spec, bytes)
      applyPoint(spec, state, benchPoint(at, at))
      stored.set(entity, encodeSection(spec, state).bytes)
    }
    return ((to - from) / (performance.now() - started)) * 1000
  }
  store(0, 2 * entities)
  const measured = Math.min(entities, 1_000_000)
  const rate = store(2 * entities, 2 * entities + measured)
  const each = stored.bytes / entities
  const points = Array.from({ length: 2 }, (_, at) => benchPoint(at, at))
  return [
    plainRow(`kernel: decode, apply, encode, ${entities.toLocaleString('en-US')} entities`, rate, 'events/s'),
    ratioRow(
      'kernel: bytes of each after two to three events; against two events’ fields',
      each,
      'bytes',
      fieldBytes(points),
    ),
  ]
}
