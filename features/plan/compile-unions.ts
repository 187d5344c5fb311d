import { definitionKind } from '../define/marks.ts'
import type { Event, Union } from '../define/index.ts'
import { checkName, checkOptions, shownText, textOf } from './compile-names.ts'
import { compileFields } from './compile-sources.ts'
import { typeName } from './expression-check.ts'
import type { FieldPlan, SourcePlan, UnionMemberPlan, UnionPlan } from './plan.ts'
import type { Report } from './problems.ts'

const UNION_OPTIONS = ['fields', 'from', 'description']
const MEMBER_OPTIONS = ['source', 'map']
const MAX_MEMBERS = 16

/** The entry of `from` as it was written, of which nothing is known. */
interface AnyMember {
  readonly source?: unknown
  readonly map?: unknown
}

/** The events that a union lists, as far as they are events; for those who look for what a definition uses. */
export function memberEvents(definition: Union): readonly Event[] {
  return entriesOf(definition)
    .map(({ source }) => source)
    .filter(source => definitionKind(source) === 'event') as readonly Event[]
}

function entriesOf({ options }: Union): readonly AnyMember[] {
  const { from } = options
  if (!Array.isArray(from)) return []
  return from.map(entry => (typeof entry === 'object' && entry !== null ? (entry as AnyMember) : {}))
}

/** The plan of a union; what is wrong is reported. Members whose event is not understood are left out. */
export function compileUnion(definition: Union, sources: ReadonlyMap<string, SourcePlan>, report: Report): UnionPlan {
  const { name, options } = definition
  const where = `union ${name}`
  checkName('a union', name, where, report)
  checkOptions(options, UNION_OPTIONS, where, report)
  const fields = compileFields(where, definition.fields, report)
  const { from } = options
  const entries = entriesOf(definition)
  if (!Array.isArray(from)) report('HW0212', where, `from is ${shownText(from)}, not a list of events`)
  else if (entries.length === 0) report('HW0212', where, 'from lists no event')
  else if (entries.length > MAX_MEMBERS) {
    report('HW0212', where, `from lists ${entries.length} events, ${MAX_MEMBERS} at most`)
  }
  const members = new Map<string, UnionMemberPlan>()
  for (const [index, entry] of entries.entries()) {
    if (definitionKind(entry.source) !== 'event') {
      report('HW0104', where, `from[${index}].source is ${shownText(entry.source)}, not an event`)
      continue
    }
    const source = sources.get((entry.source as Event).name)
    if (source === undefined) continue
    const at = `${where}, event ${source.name}`
    checkOptions(entry as Readonly<Record<string, unknown>>, MEMBER_OPTIONS, at, report)
    if (members.has(source.name)) report('HW0212', where, `event ${source.name} is listed twice`)
    else members.set(source.name, { source: source.name, fields: compileMap(entry.map, fields, source, at, report) })
  }
  return {
    name,
    fields,
    members: [...members.values()].sort((a, b) => (a.source < b.source ? -1 : 1)),
    description: textOf(options['description']),
  }
}

/** The event's field for each field of the union. */
function compileMap(
  given: unknown,
  fields: readonly FieldPlan[],
  source: SourcePlan,
  at: string,
  report: Report,
): Readonly<Record<string, string>> {
  if (given !== undefined && (typeof given !== 'object' || given === null)) {
    report('HW0213', at, `map is ${shownText(given)}, not an object of field names`)
  }
  const map = (typeof given === 'object' && given !== null ? given : {}) as Readonly<Record<string, unknown>>
  for (const name of Object.keys(map)) {
    if (fields.some(field => field.name === name)) continue
    const known = fields.map(field => field.name).join(', ')
    report('HW0213', at, `map names "${name}", which is no field of the union; there are ${known}`)
  }
  const mapped: Record<string, string> = {}
  for (const field of fields) {
    const own = (Object.hasOwn(map, field.name) ? map[field.name] : undefined) ?? field.name
    const found = source.fields.find(each => each.name === own)
    if (found === undefined) {
      const known = source.fields.map(each => each.name).join(', ')
      report(
        'HW0213',
        at,
        `"${field.name}" is mapped to ${shownText(own)}, which event ${source.name} lacks; it has ${known}`,
      )
      continue
    }
    if (typeName(found.type) !== typeName(field.type)) {
      const what = `"${found.name}" of event ${source.name} is ${typeName(found.type)}`
      report('HW0214', at, `${what}, "${field.name}" of the union is ${typeName(field.type)}`)
    } else if (found.optional && !field.optional) {
      report('HW0214', at, `"${found.name}" of event ${source.name} is optional, "${field.name}" of the union is not`)
    }
    mapped[field.name] = found.name
  }
  return mapped
}
