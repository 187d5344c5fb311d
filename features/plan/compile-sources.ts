import type { Entity, Event, Fields } from '../define/index.ts'
import { definitionKind } from '../define/marks.ts'
import type { FieldType } from '../kernel/types.ts'
import {
  checkDuration,
  checkName,
  checkOptions,
  CLOCK_SKEW_BOUNDS,
  LATENESS_BOUNDS,
  READ_BACK_BOUNDS,
  shownText,
  textOf,
} from './compile-names.ts'
import { unknownField } from './expression-check.ts'
import type { EntityPlan, FieldPlan, SourcePlan } from './plan.ts'
import type { Report } from './problems.ts'

const FIELD_NAME = /^[A-Za-z][A-Za-z0-9_]{0,63}$/
const TOPIC_NAME = /^[A-Za-z0-9._-]{1,200}$/
const MAX_PARTITIONS = 1024
const MAX_SCALE = 9
const MAX_VECTOR_LENGTH = 4096
const EVENT_OPTIONS = [
  'topic',
  'id',
  'time',
  'key',
  'lateness',
  'readBack',
  'clockSkew',
  'partitions',
  'unknownFields',
  'format',
  'fields',
  'description',
]

/** Whether values of the type can name an entity or an event. */
export function isKeyType(type: FieldType): boolean {
  return type.kind === 'string' || type.kind === 'int' || type.kind === 'int64'
}

const MAX_KEY_FIELDS = 8

/** The plan of an event; what is wrong is reported and something harmless stands in. */
export function compileEvent(definition: Event, report: Report): SourcePlan {
  const { name, options } = definition
  const where = `event ${name}`
  checkName('an event', name, where, report)
  checkOptions(options, EVENT_OPTIONS, where, report)
  if (typeof options['topic'] !== 'string' || !TOPIC_NAME.test(options['topic'])) {
    report('HW0207', where, `topic is ${shownText(options['topic'])}`)
  }
  const fields = compileFields(where, definition.fields, report)
  const idField = namedField('id', options['id'], fields, where, report)
  const timeField = namedField('time', options['time'], fields, where, report)
  const key = options['key']
  const keyField = key === undefined ? idField : namedField('key', key, fields, where, report)
  const partitions = options['partitions'] ?? 4
  if (
    typeof partitions !== 'number' ||
    !Number.isInteger(partitions) ||
    partitions < 1 ||
    partitions > MAX_PARTITIONS
  ) {
    report('HW0206', where, `partitions is ${shownText(partitions)}`)
  }
  const unknownFields = options['unknownFields'] ?? 'refuse'
  if (unknownFields !== 'refuse' && unknownFields !== 'ignore') {
    report('HW0210', where, `unknownFields is ${shownText(unknownFields)}; it is 'refuse' or 'ignore'`)
  }
  const format = options['format'] ?? 'json'
  if (format !== 'json' && format !== 'avro') {
    report('HW0210', where, `format is ${shownText(format)}; it is 'json' or 'avro'`)
  }
  return {
    name,
    topic: textOf(options['topic']),
    partitions: typeof partitions === 'number' ? partitions : 1,
    idField,
    timeField,
    keyField,
    latenessMs: checkDuration('lateness', options['lateness'], LATENESS_BOUNDS, where, report),
    readBackMs: checkDuration('readBack', options['readBack'] ?? '5m', READ_BACK_BOUNDS, where, report),
    clockSkewMs: checkDuration('clockSkew', options['clockSkew'] ?? '5m', CLOCK_SKEW_BOUNDS, where, report),
    unknownFields: unknownFields === 'ignore' ? 'ignore' : 'refuse',
    format: format === 'avro' ? 'avro' : 'json',
    fields,
    description: textOf(options['description']),
  }
}

/** The fields of an event or a union; what is wrong is reported, what is no field is left out. */
export function compileFields(owner: string, given: unknown, report: Report): readonly FieldPlan[] {
  const fields: FieldPlan[] = []
  if (typeof given !== 'object' || given === null || Object.keys(given).length === 0) {
    report('HW0201', owner, 'it has no fields')
    return fields
  }
  for (const [name, field] of Object.entries(given as Fields)) {
    const where = `${owner}, field ${name}`
    if (!FIELD_NAME.test(name)) report('HW0201', where, `${shownText(name)} is not a name for a field`)
    else if (name in Object.prototype || name === 'then') {
      report('HW0102', where, `"${name}" is reserved and cannot name a field`)
    }
    if (definitionKind(field) !== 'field') {
      report('HW0201', where, `its type is ${shownText(field)}, not one of \`t\``)
      continue
    }
    checkParameters(field.type, where, report)
    fields.push({ name, type: field.type, optional: field.optional, description: textOf(field.description) })
  }
  return fields
}

function checkParameters(type: FieldType, where: string, report: Report): void {
  const within = (value: unknown, least: number, greatest: number): boolean =>
    typeof value === 'number' && Number.isInteger(value) && value >= least && value <= greatest
  if (type.kind === 'decimal' && !within(type.scale, 0, MAX_SCALE)) {
    report('HW0208', where, `the scale is ${shownText(type.scale)}`)
  }
  if (type.kind === 'vector' && !within(type.length, 1, MAX_VECTOR_LENGTH)) {
    report('HW0208', where, `the length is ${shownText(type.length)}`)
  }
}

function namedField(
  role: 'id' | 'time' | 'key',
  name: unknown,
  fields: readonly FieldPlan[],
  where: string,
  report: Report,
): string {
  const field = fields.find(each => each.name === name)
  if (field === undefined) {
    report('HW0202', where, `${role}: ${unknownField(name, fields)}`)
  } else if (!(role === 'time' ? field.type.kind === 'timestamp' : isKeyType(field.type)) || field.optional) {
    report('HW0203', where, `${role} is "${field.name}" of type ${field.optional ? 'optional ' : ''}${field.type.kind}`)
  }
  return textOf(name)
}

/** The plan of an entity. */
export function compileEntity(definition: Entity, report: Report): EntityPlan {
  const where = `entity ${definition.name}`
  checkName('an entity', definition.name, where, report)
  const key: unknown = definition.key
  const parts: readonly unknown[] = Array.isArray(key) ? key : [key]
  for (const part of parts) {
    if (typeof part === 'string' && FIELD_NAME.test(part)) continue
    report('HW0201', where, `key ${Array.isArray(key) ? 'lists' : 'is'} ${shownText(part)}, not the name of a field`)
  }
  const twice = parts.find((part, index) => parts.indexOf(part) < index)
  if (parts.length === 0 || parts.length > MAX_KEY_FIELDS) {
    report('HW0215', where, `key lists ${parts.length} fields, from 1 to ${MAX_KEY_FIELDS} are allowed`)
  } else if (twice !== undefined) report('HW0215', where, `key lists ${shownText(twice)} twice`)
  return { name: definition.name, keyFields: parts.map(textOf), description: textOf(definition.description) }
}
