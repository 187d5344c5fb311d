import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Session } from 'chdb'
import { afterAll, describe, expect, it } from 'vitest'
import { oracleRead, oracleVerdicts } from '../../features/kernel/index.ts'
import type { LogRecord } from '../../features/kernel/index.ts'
import type { Cell, FieldType } from '../../features/kernel/types.ts'
import { joinKey } from '../../features/plan/entity-key.ts'
import { decimalText, decodeFields } from '../../features/plan/event.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import { clickHouseType, sqlIdentifier } from '../../features/plan/expression-sql.ts'
import { kernelRowsSql, kernelRunner } from '../../features/plan/feature-kernel.ts'
import type { KernelRow } from '../../features/plan/feature-kernel.ts'
import { featurePath, featureSql } from '../../features/plan/feature-sql.ts'
import { entityIdSql, groupEventsSql } from '../../features/plan/group-sql.ts'
import { groupSource } from '../../features/plan/group-source.ts'
import type { SourcePlan } from '../../features/plan/plan.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan } from '../../features/plan/units.ts'
import type { BoundUnit } from '../../features/plan/units.ts'
import { diceOf } from '../kernel/logs.ts'
import type { Dice } from '../kernel/logs.ts'
import { MOVEMENTS, fieldsOf, freshStandings } from '../plan/movements.ts'
import type { Movement } from '../plan/movements.ts'
import { projectOf } from '../plan/source.ts'
import { readAs } from './feature-compare.ts'

const T = 1_700_000_000_000
const MINUTE = 60_000
const ENTITIES = 30
const ROWS_PER_ENTITY = 8

const { plan } = projectOf(MOVEMENTS)
const bound = bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, freshStandings(plan)))
const source = groupSource(plan, 'movement')
const folder = mkdtempSync(join(tmpdir(), 'headwater-unions-'))
const session = new Session(join(folder, 'data'))

afterAll(() => {
  session.cleanup()
  rmSync(folder, { recursive: true, force: true })
})

const SETTINGS =
  'SETTINGS join_use_nulls = 1, output_format_json_quote_64bit_integers = 1, output_format_json_quote_denormals = 1'

function rowsOf<Row>(sql: string): Row[] {
  const text = session.query(`${sql} ${SETTINGS}`, 'JSONEachRow')
  return text.split('\n').flatMap(line => (line === '' ? [] : [JSON.parse(line) as Row]))
}

function jsonCell(type: FieldType, cell: Cell): unknown {
  if (typeof cell === 'bigint') return String(cell)
  return type.kind === 'decimal' && cell !== null ? decimalText(cell as number, type.scale) : cell
}

function createTable(table: string, types: Readonly<Record<string, string>>, rows: readonly object[]): void {
  const path = join(folder, `${table}.jsonl`)
  writeFileSync(path, rows.map(row => `${JSON.stringify(row)}\n`).join(''))
  const structure = Object.entries(types).map(([name, type]) => `${sqlIdentifier(name)} ${type}`)
  const text = structure.join(', ').replaceAll("'", "\\'")
  session.query(`CREATE TABLE ${table} ENGINE = Memory AS SELECT * FROM file('${path}', 'JSONEachRow', '${text}')`)
}

/** Keys that a careless join would confuse. */
const CARDS = ['a', 'a|b', 'a\\', '\\', "'"]
const SHOPS = ['b', 'b|c', '|', '\\|', 'c']

function movementOf(dice: Dice, card: string, shop: string): Movement {
  return {
    kind: dice.chance(0.5) ? 'payment' : 'refund',
    id: String(dice.integer(1, 9)),
    at: T + dice.integer(-40, 40) * dice.pick([1, MINUTE, 20 * MINUTE]),
    card,
    shop,
    cents: dice.integer(-2000, 9000),
    note: dice.pick(['no', 'yes', 'é']),
  }
}

function decoded(event: SourcePlan, movement: Movement): DecodedEvent {
  const result = decodeFields(event, fieldsOf(movement), null)
  if (!result.ok) throw new Error(result.reason)
  return result.event
}

interface Scored {
  readonly row: number
  readonly entity: number
  readonly t: number
  readonly self: Movement | null
}

describe.each([
  ['moves', false],
  ['pair_moves', true],
] as const)('the features of %s in SQL', (name, ofPairs) => {
  const group = bound.groups.get(name)!
  const dice = diceOf(ofPairs ? 5 : 4)
  const entities = Array.from({ length: ENTITIES }, (_, index) => {
    const card = CARDS[index % 5]! + (ofPairs ? '' : index)
    return { card, shop: SHOPS[Math.floor(index / 5) % 5]! }
  }).slice(0, ofPairs ? 25 : ENTITIES)
  const keyOf = ({ card, shop }: { card: string; shop: string }) => (ofPairs ? joinKey([card, shop]) : card)
  const units = group.features[0]!.units
  const events = entities.map(({ card, shop }) => {
    const log = Array.from({ length: dice.integer(0, 40) }, () => movementOf(dice, card, shop))
    return units.flatMap((unit, at) => {
      const own = log
        .filter(movement => movement.kind === unit.source.name)
        .map(movement => ({ partition: at, movement, point: unit.project(decoded(unit.source, movement)) }))
      const verdicts = oracleVerdicts(unit.spec, own)
      return own.filter((_, index) => verdicts[index] === 'added')
    })
  })
  const scored: Scored[] = entities.flatMap(({ card, shop }, entity) =>
    Array.from({ length: ROWS_PER_ENTITY }, (_, index): Scored => {
      const stored = events[entity]!.map(({ movement }) => movement)
      const picked = stored.length > 0 && dice.chance(0.6) ? dice.pick(stored) : movementOf(dice, card, shop)
      const turned = { ...picked, kind: picked.kind === 'payment' ? ('refund' as const) : ('payment' as const) }
      const self = dice.chance(0.2) ? null : dice.chance(0.4) ? turned : picked
      const t = self !== null && dice.chance(0.7) ? self.at : T + dice.integer(0, 900) * MINUTE
      return { row: entity * ROWS_PER_ENTITY + index, entity, t, self }
    }),
  )
  const tableOf = (event: SourcePlan): string => `${name}_${event.name}`

  for (const [at, unit] of units.entries()) {
    const { fields } = unit.source
    const types = fields.map(({ name: field, type, optional }) => [field, clickHouseType(type, optional)] as const)
    createTable(
      tableOf(unit.source),
      { _time: 'Int64', _id: 'String', ...Object.fromEntries(types) },
      events.flat().flatMap(({ partition, movement }) => {
        if (partition !== at) return []
        const event = decoded(unit.source, movement)
        const cells = fields.map(({ name: field, type }, index) => [field, jsonCell(type, event.cells[index] ?? null)])
        return [{ _time: event.time, _id: event.id, ...(Object.fromEntries(cells) as object) }]
      }),
    )
  }
  const selfTypes = source.fields.map(({ name: field, type }) => [`self_${field}`, clickHouseType(type, true)] as const)
  createTable(
    `${name}_spine`,
    {
      ...{ _row: 'Int64', _entity: 'String', _t: 'Int64' },
      ...{ _self_time: 'Nullable(Int64)', _self_id: 'Nullable(String)', _self_event: 'Nullable(String)' },
      ...Object.fromEntries(selfTypes),
    },
    scored.map(({ row, entity, t, self }) => ({
      ...{ _row: row, _entity: keyOf(entities[entity]!), _t: t },
      ...(self === null ? {} : { _self_time: self.at, _self_id: self.id, _self_event: self.kind }),
      ...(self === null
        ? {}
        : { self_card: self.card, self_shop: self.shop, self_amount: self.cents / 100, self_note: self.note }),
    })),
  )
  const relations = {
    events: groupEventsSql(source, group.plan.keyFields, tableOf),
    spine: `${name}_spine`,
    ofUnion: true,
  }

  /** What the definition of a read answers; null where it is out of range, which SQL does not know. */
  function expected(unit: BoundUnit, feature: (typeof group.features)[number], { entity, t, self }: Scored): unknown {
    const at = self === null ? -1 : units.findIndex(each => each.source.name === self.kind)
    const own = group.features.find(each => each === feature)!.units[Math.max(at, 0)]!
    const point = self === null ? null : own.project(decoded(own.source, self))
    const spec = { ...unit.spec, horizonMs: 1e15, rawMs: 1e15, retentionMs: 1e15 }
    const accepted: LogRecord[] = events[entity]!.map(({ partition, movement }) => {
      const member = feature.units[partition]!
      return { partition, point: member.project(decoded(member.source, movement)) }
    })
    return oracleRead(spec, [feature.read], accepted, t, point, partition => partition === at)![0]
  }

  it('are those of the definition over the events of all kinds', () => {
    const features = group.features.map(feature => feature.plan)
    expect(features.map(featurePath)).not.toContain('kernel')
    const found = new Map(
      rowsOf<Record<string, unknown>>(featureSql(source, features, relations)).map(row => [Number(row['_row']), row]),
    )
    const run = kernelRunner(source, features)
    const streamed = new Map(
      rowsOf<KernelRow>(kernelRowsSql(source, features, relations)).map(row => [Number(row._row), run(row)]),
    )
    let clashes = 0
    for (const row of scored) {
      const twin = (movement: Movement) => movement.at === row.self?.at && movement.id === row.self.id
      if (events[row.entity]!.some(({ movement }) => twin(movement) && movement.kind !== row.self?.kind)) clashes++
      for (const [index, feature] of group.features.entries()) {
        const value = expected(feature.unit, feature, row)
        const what = `${feature.plan.name} of ${keyOf(entities[row.entity]!)} at ${row.t}`
        expect(streamed.get(row.row)![index], what).toEqual(value)
        const sql = readAs(value, found.get(row.row)![feature.plan.name])
        if (typeof value === 'number') expect(sql, what).toBeCloseTo(value, 6)
        else expect(sql, what).toEqual(value)
      }
    }
    expect(clashes).toBeGreaterThan(20)
  })
})

describe('the id of an entity in SQL', () => {
  it('is the text that its events name it by', () => {
    const parts = CARDS.flatMap(card => SHOPS.map(shop => ({ card, shop, n: '-9223372036854775808' })))
    createTable('parts', { card: 'String', shop: 'Nullable(String)', n: 'Int64' }, [...parts, { card: 'a', n: '1' }])
    const ids = rowsOf<{ id: string | null }>(`SELECT ${entityIdSql(['card', 'shop', 'n'])} AS id FROM parts`)
    const wanted = parts.map(({ card, shop, n }) => joinKey([card, shop, n]))
    expect(ids.map(({ id }) => id).sort()).toEqual([...wanted, null].sort())
    expect(rowsOf(`SELECT ${entityIdSql(['n'])} AS id FROM parts LIMIT 1`)).toEqual([{ id: '-9223372036854775808' }])
  })
})
