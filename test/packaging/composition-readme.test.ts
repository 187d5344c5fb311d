import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { runInThisContext } from 'node:vm'
import { transformSync } from 'esbuild'
import { describe, expect, it } from 'vitest'
import * as authoring from '../../features/define/index.ts'
import { prepareReads } from '../../features/kernel/index.ts'
import { joinKey } from '../../features/plan/entity-key.ts'
import { decodeFields } from '../../features/plan/event.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import { memberField, groupSource } from '../../features/plan/group-source.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan } from '../../features/plan/units.ts'
import type { BoundGroup, BoundUnit } from '../../features/plan/units.ts'
import { StoredUnit } from '../kernel/stored.ts'
import { freshStandings } from '../plan/movements.ts'
import { projectOf } from '../plan/source.ts'
import { instantOf, sectionsOf } from './semantics-page.ts'
import type { Code, Row, Table } from './semantics-page.ts'

const PART = 'Composite keys and unions'

const page = readFileSync(join(import.meta.dirname, '..', '..', 'features', 'README.md'), 'utf8')
const elements = sectionsOf(page).flatMap(section => (section.part === PART ? section.elements : []))
const code = elements.find((each): each is Code => each.kind === 'code')!
const [events, reads] = elements.filter((each): each is Table => each.kind === 'table')

function exportsOf(text: string): Readonly<Record<string, unknown>> {
  const { code: script } = transformSync(text, { loader: 'ts', format: 'cjs' })
  const module: { exports: Readonly<Record<string, unknown>> } = { exports: {} }
  const run = runInThisContext(`(function (module, require) {${script}\n})`) as (...args: readonly unknown[]) => void
  run(module, () => authoring)
  return module.exports
}

const { plan } = projectOf(exportsOf(code.text))
const bound = bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, freshStandings(plan)))
const member = (kind: string) => groupSource(plan, 'movement').members.find(each => each.source.name === kind)!

/** A row of the table of events as an event of its kind. */
function eventOf({ cells }: Row): { readonly kind: string; readonly event: DecodedEvent } {
  const kind = cells.get('kind')!
  const { source } = member(kind)
  const [card, shop] = ['card', 'shop'].map(name => cells.get(name) || null)
  const shape = { card: card!, shop: shop!, amount: Number(cells.get('amount')) }
  const mapped = Object.entries(shape).map(([name, value]) => [memberField(member(kind), name), value] as const)
  const own = [
    [source.idField, cells.get('event')!],
    [source.timeField, instantOf(cells.get('at')!)],
  ] as const
  const decoded = decodeFields(source, Object.fromEntries([...mapped, ...own]), null)
  if (!decoded.ok) throw new Error(decoded.reason)
  return { kind, event: decoded.event }
}

/** What is stored of an entity in a unit after the log, and what became of each event. */
function stored(unit: BoundUnit, entity: string): { readonly section: StoredUnit; readonly late: readonly string[] } {
  const section = new StoredUnit(unit.spec)
  const late: string[] = []
  for (const row of events!.rows) {
    const { kind, event } = eventOf(row)
    if (kind !== unit.source.name || row.cells.get('log') === 'not yet' || unit.entityId(event) !== entity) continue
    if (section.apply(unit.project(event)) === 'late') late.push(event.id)
    section.flush()
  }
  return { section, late }
}

function answers(group: BoundGroup, entity: string, t: number, scored: Row | null): Record<string, unknown> {
  const values: Record<string, unknown> = {}
  for (const { plan: feature, units, read } of group.features) {
    const asked = scored === null ? null : eventOf(scored)
    const self = units.find(unit => unit.source.name === asked?.kind) ?? null
    const sections = units.map(unit => stored(unit, entity).section)
    const point = self === null || asked === null ? null : self.project(asked.event)
    const own = units.map(unit => unit === self)
    const answer = prepareReads(units[0]!.spec, [read]).fromBytes(sections, t, point, own)
    if ('missing' in answer || answer.outOfRange) throw new Error('the read is refused')
    values[feature.name] = answer.values[0]
  }
  return values
}

describe(`the section "${PART}" of features/README.md`, () => {
  it('states what its example answers', () => {
    expect(reads!.rows.length).toBeGreaterThan(3)
    for (const { cells, line } of reads!.rows) {
      const [card, shop] = [cells.get('card')!, cells.get('shop')!]
      const scored = cells.get('scored')
      const row = events!.rows.find(each => each.cells.get('event') === scored && each.cells.get('log') === 'not yet')
      const found = [...bound.groups.values()].flatMap(group => {
        const id = group.plan.keyFields.length > 1 ? joinKey([card, shop]) : card
        return Object.entries(answers(group, id, instantOf(cells.get('read at')!), row ?? null))
      })
      expect(found.length).toBe(4)
      for (const [name, value] of found) expect(String(value), `line ${line}, ${name}`).toBe(cells.get(name))
    }
  })

  it('states which events are late, and for whom', () => {
    const late = bound.units.flatMap(unit => {
      const ids = new Set(
        events!.rows.flatMap(row => {
          const { kind, event } = eventOf(row)
          return kind === unit.source.name ? (unit.entityId(event) ?? []) : []
        }),
      )
      return [...ids].flatMap(id => stored(unit, id).late.map(event => `${event} late for the ${unit.entity}`))
    })
    const said = events!.rows.flatMap(({ cells }) =>
      cells.get('log')?.startsWith('late') === true ? [`${cells.get('event')} ${cells.get('log')}`] : [],
    )
    expect(late).toEqual(said)
    const without = events!.rows.filter(({ cells }) => cells.get('log') === 'no pair').map(row => eventOf(row).event)
    const pairUnit = bound.groups.get('pairs')!.features[0]!.unit
    expect(without.map(event => pairUnit.entityId(event))).toEqual([null])
    for (const text of ['`c1|s1`', '`a\\|b|c`', '`a|b\\|c`']) expect(page).toContain(text)
    expect([joinKey(['c1', 's1']), joinKey(['a|b', 'c']), joinKey(['a', 'b|c'])]).toEqual([
      'c1|s1',
      'a\\|b|c',
      'a|b\\|c',
    ])
  })
})
