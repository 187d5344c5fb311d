import { applyPoint, emptySection, encodeSection } from '../../features/kernel/index.ts'
import { eventDecoder } from '../../features/plan/event.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import type { BoundUnit } from '../../features/plan/units.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'
import { onlineKey, shardOf } from '../../topology/ports/online-layout.ts'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import type { RuntimeContext } from '../../topology/runtime/context.ts'
import { rawTableName } from '../../topology/processors/offline-schema.ts'
import type { TopicLife } from './lives.ts'
import { imageDifferences } from './section-oracle.ts'

interface Placed {
  readonly offset: number
  readonly event: DecodedEvent
}

/** What a check of a life that ended found. */
export interface FormerLifeVerification {
  readonly sections: number
  readonly rows: number
  readonly differences: readonly string[]
}

const KEYS_AT_ONCE = 200

/**
 * Checks what is stored of a life of the topic that was ended before all of it was read. A section is what the records up
 * to its position make it; one that is behind, or missing, lies above its shard's canary; rows are those of a prefix of
 * each partition, each once.
 */
export async function verifyFormerLife(
  context: RuntimeContext,
  offline: OfflineStore,
  topic: string,
  life: TopicLife,
): Promise<FormerLifeVerification> {
  const units = context.bound.units.filter(unit => unit.source.topic === topic)
  const [first] = units
  if (first === undefined) throw new Error(`no unit is fed by ${topic}`)
  const decoder = eventDecoder(first.source)
  const differences: string[] = []
  let [sections, rows] = [0, 0]
  for (const [partition, records] of life.partitions.entries()) {
    const placed: Placed[] = []
    for (const record of records) {
      const decoded = decoder.decodeJson(record.value, record.arrivalMs)
      if (decoded.ok) placed.push({ offset: record.offset, event: decoded.event })
    }
    for (const unit of units) {
      sections += await verifyUnit(context, unit, life.incarnation, partition, placed, differences)
    }
    const [found] = await offline.query<{ rows: string; offsets: string; next: string }>(
      `SELECT toString(count()) AS rows, toString(uniqExact(_offset)) AS offsets, toString(max(_offset) + 1) AS next
       FROM ${rawTableName(first.source)} FINAL WHERE _incarnation = {incarnation:String} AND _partition = {partition:UInt32}`,
      { incarnation: life.incarnation, partition },
    )
    const stored = Number(found?.rows ?? 0)
    const wanted = stored === 0 ? 0 : placed.filter(each => each.offset < Number(found?.next)).length
    if (stored !== wanted || stored !== Number(found?.offsets)) {
      differences.push(`partition ${partition}: ${stored} rows of ${found?.offsets} records, not ${wanted}`)
    }
    rows += stored
  }
  return { sections, rows, differences }
}

async function verifyUnit(
  { store, config }: RuntimeContext,
  unit: BoundUnit,
  incarnation: string,
  partition: number,
  placed: readonly Placed[],
  differences: string[],
): Promise<number> {
  const canaries = await store.readCanaries({ unit: unit.id, incarnation, partition }, SHARD_COUNT)
  const byId = new Map<string, Placed[]>()
  for (const each of placed) {
    const id = unit.entityId(each.event)
    if (id === null) continue
    const list = byId.get(id)
    if (list === undefined) byId.set(id, [each])
    else list.push(each)
  }
  const ids = [...byId.keys()]
  let sections = 0
  for (let start = 0; start < ids.length; start += KEYS_AT_ONCE) {
    const part = ids.slice(start, start + KEYS_AT_ONCE)
    const keys = part.map(id => onlineKey(config.namespace, unit.entity, id, unit.id))
    const heads = await store.read(keys.map(key => ({ key, blocks: () => [] })))
    for (const [index, id] of part.entries()) {
      const events = byId.get(id) ?? []
      const own = heads[index]?.find(each => each.incarnation === incarnation && each.partition === partition)
      const canary = canaries[shardOf(unit.entity, id)]?.offset ?? -1
      const due = events.findLast(each => each.offset <= canary)?.offset ?? -1
      const position = own?.position ?? -1
      const where = `unit ${unit.id} ${id} partition ${partition}`
      if (position < due) differences.push(`${where}: at ${position}, but the canary says ${canary}`)
      if (own === undefined) continue
      sections++
      const state = emptySection(unit.spec)
      for (const { offset, event } of events) if (offset <= position) applyPoint(unit.spec, state, unit.project(event))
      const image = encodeSection(unit.spec, state)
      const wanted = image.blocks.map(block => block.id)
      const [again] = await store.read([{ key: keys[index] ?? '', blocks: () => wanted }])
      const stored = again?.find(each => each.incarnation === incarnation && each.partition === partition) ?? own
      for (const wrong of imageDifferences(image, stored)) differences.push(`${where}: ${wrong}`)
    }
  }
  return sections
}
