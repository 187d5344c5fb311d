import { definitionKind } from '../define/marks.ts'
import type { Feature } from '../define/features.ts'
import type { Group } from '../define/index.ts'
import { compileFeature } from './compile-features.ts'
import { checkDuration, checkName, checkOptions, MAX_AGE_BOUNDS, shownText, textOf } from './compile-names.ts'
import { isKeyType } from './compile-sources.ts'
import { bytesText, exactWindowSizes } from './estimate.ts'
import { typeName, unknownField } from './expression-check.ts'
import { operatorsOf } from './operators.ts'
import { takesEdge } from './placement.ts'
import type { GroupSource } from './group-source.ts'
import type { EntityPlan, FeaturePlan, GroupPlan } from './plan.ts'
import type { Report } from './problems.ts'
import { windowText } from './window-text.ts'

const GROUP_OPTIONS = ['entity', 'source', 'key', 'maxAge', 'eventsPerEntityPerDay', 'maxBytesPerEntity', 'description']

/** The plan of a group; what is wrong is reported, features that cannot be understood are left out. */
export function compileGroup(
  definition: Group,
  source: GroupSource,
  entityPlan: EntityPlan,
  report: Report,
  warn: Report,
): GroupPlan {
  const { name, entity, options } = definition
  const where = `group ${name}`
  checkName('a group', name, where, report)
  checkOptions(options, GROUP_OPTIONS, where, report)
  const keyFields = groupKey(definition, source, entityPlan, where, report)
  const maxAgeMs = checkDuration('maxAge', options['maxAge'] ?? '1m', MAX_AGE_BOUNDS, where, report)
  const eventsPerEntityPerDay = checkNumber('eventsPerEntityPerDay', options, RATE, where, report)
  const maxBytesPerEntity = checkNumber('maxBytesPerEntity', options, BYTES, where, report)
  const features: FeaturePlan[] = []
  if (definition.failure !== null) reportFailure(definition.failure, source, where, report)
  else if (Object.keys(definition.features).length === 0) report('HW0309', where, 'it has no features')
  for (const [featureName, feature] of Object.entries(definition.features)) {
    const at = `${where}, feature ${featureName}`
    checkName('a feature', featureName, at, report)
    if (definitionKind(feature) !== 'feature') {
      report('HW0308', at, `it is ${shownText(feature)}, not a feature`)
      continue
    }
    const { draft } = feature as Feature
    const compiled = compileFeature(featureName, draft, { source, keyFields, maxAgeMs }, at, report, warn)
    if (compiled !== null) features.push(compiled)
  }
  const compiled = {
    name,
    entity: entity.name,
    source: source.name,
    keyFields,
    maxAgeMs,
    eventsPerEntityPerDay,
    maxBytesPerEntity,
    features,
    description: textOf(options['description']),
  }
  checkRoom(compiled, source, where, report)
  return compiled
}

interface NumberOption {
  readonly least: number
  readonly greatest: number
  readonly initial: number
}

/** Events a day; beyond a thousand a second no entity is one entity. */
const RATE: NumberOption = { least: 0.001, greatest: 86_400_000, initial: 10 }
/** Bytes: 1 KiB to 512 MiB, the most that Redis keeps under one key. */
const BYTES: NumberOption = { least: 1 << 10, greatest: 1 << 29, initial: 1 << 24 }

function checkNumber(
  name: string,
  options: Readonly<Record<string, unknown>>,
  { least, greatest, initial }: NumberOption,
  where: string,
  report: Report,
): number {
  const value = options[name] ?? initial
  if (typeof value === 'number' && value >= least && value <= greatest) return value
  report('HW0211', where, `${name} is ${shownText(value)}, it must be a number from ${least} to ${greatest}`)
  return initial
}

/** Reports exact windows whose points would take more room than the group allows one entity. */
function checkRoom(group: GroupPlan, source: GroupSource, where: string, report: Report): void {
  const keyed = group.keyFields.every(name => source.fields.some(field => field.name === name && isKeyType(field.type)))
  const fed = source.members.every(({ fields }) => fields === null || source.fields.every(({ name }) => name in fields))
  if (!keyed || !fed || source.members.length === 0) return
  const { eventsPerEntityPerDay: perDay, maxBytesPerEntity } = group
  for (const { feature, points, bytes } of exactWindowSizes(group, source)) {
    if (bytes <= maxBytesPerEntity) continue
    const at = `${where}, feature ${feature.name}`
    const message = `at ${perDay} events a day its window of ${windowText(feature.window)} holds about ${points} events in ${bytesText(bytes)}, maxBytesPerEntity is ${bytesText(maxBytesPerEntity)}`
    if (takesEdge(feature)) report('HW0314', at, message)
    else report('HW0314', at, message, 'shorten the window, or raise maxBytesPerEntity of the group')
  }
}

/** Of a call that a column does not have, such as `e.amount.gte is not a function`. */
const NOT_A_FUNCTION = /(\w+)\.(\w+) is not a function/

function reportFailure(failure: string, source: GroupSource, where: string, report: Report): void {
  const message = `the function that lists them failed: ${failure}`
  const [, fieldName = '', call = ''] = NOT_A_FUNCTION.exec(failure) ?? []
  const field = source.fields.find(each => each.name === fieldName)
  if (field !== undefined) {
    const operators = operatorsOf(field.type.kind).join(', ')
    const remedy = `correct the expression: a field of type ${typeName(field.type)} has ${operators}`
    report('HW0308', where, `${message}; "${field.name}" is ${typeName(field.type)} and has no ${call}`, remedy)
  } else report('HW0308', where, message, 'correct the expression or code that failed in this function')
}

function groupKey(
  { source: definition, options }: Group,
  source: GroupSource,
  entity: EntityPlan,
  where: string,
  report: Report,
): readonly string[] {
  const given = options['key']
  const names: readonly unknown[] = given === undefined ? entity.keyFields : Array.isArray(given) ? given : [given]
  const { keyFields } = entity
  if (names.length !== keyFields.length) {
    const wanted = `the key of entity ${entity.name} has ${keyFields.length}: ${keyFields.join(', ')}`
    report('HW0315', where, `key names ${names.length} ${names.length === 1 ? 'field' : 'fields'}, ${wanted}`)
  }
  for (const name of names) {
    const field = source.fields.find(each => each.name === name)
    if (field === undefined) {
      const owner = `${definitionKind(definition)} ${source.name}`
      if (given !== undefined) report('HW0202', where, `key: ${unknownField(name, source.fields)}`)
      else report('HW0301', where, `${owner} has no field "${textOf(name)}", the key of entity ${entity.name}`)
    } else if (!isKeyType(field.type)) {
      report('HW0302', where, `"${field.name}" is ${typeName(field.type)}`)
    }
  }
  return names.map(textOf)
}
