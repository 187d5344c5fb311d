import type { Group } from '../define/index.ts'
import type { FeatureDraft } from '../define/rows.ts'
import { definitionKind } from '../define/marks.ts'
import type { Feature } from '../define/rows.ts'
import { AGGREGATORS } from '../kernel/aggregators/index.ts'
import type { AggregatorDescriptor } from '../kernel/aggregators/index.ts'
import type { Aggregator, FieldType, Include, Value, Window } from '../kernel/types.ts'
import {
  checkDuration,
  checkName,
  checkOptions,
  DELAY_BOUNDS,
  MAX_AGE_BOUNDS,
  shownText,
  textOf,
  WINDOW_BOUNDS,
} from './compile-names.ts'
import { isKeyType } from './compile-sources.ts'
import { checkExpression, typeName, unknownField } from './expression-check.ts'
import { hashOf } from './hash.ts'
import { operatorsOf, TYPE_OF_EVERY_KIND } from './operators.ts'
import type { AggregatorRef, Expression, FeaturePlan, FieldPlan, GroupPlan, SourcePlan } from './plan.ts'
import type { Report } from './problems.ts'

const GROUP_OPTIONS = ['entity', 'source', 'key', 'maxAge', 'description']
const FEATURE_OPTIONS = ['where', 'delay', 'include', 'whenEmpty', 'description']
const INCLUDES: readonly unknown[] = ['current', 'excludeSelf', 'excludeInstant']

/** Field names that tell of an outcome which becomes known only later. */
const LABEL_NAME =
  /^(is_?|has_?|was_?)?(fraud|fraudulent|fraud_?label|label|target|chargeback|charged_?back|spam|churned)$/i

/** The plan of a group; what is wrong is reported, features that cannot be understood are left out. */
export function compileGroup(definition: Group, source: SourcePlan, report: Report, warn: Report): GroupPlan {
  const { name, entity, options } = definition
  const where = `group ${name}`
  checkName('a group', name, where, report)
  checkOptions(options, GROUP_OPTIONS, where, report)
  const keyField = groupKey(definition, source, where, report)
  const maxAgeMs = checkDuration('maxAge', options['maxAge'] ?? '1m', MAX_AGE_BOUNDS, where, report)
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
    const compiled = compileFeature(
      featureName,
      (feature as Feature).draft,
      { source, keyField, maxAgeMs },
      at,
      report,
      warn,
    )
    if (compiled !== null) features.push(compiled)
  }
  return {
    name,
    entity: entity.name,
    source: source.name,
    keyField,
    maxAgeMs,
    features,
    description: textOf(options['description']),
  }
}

/** Of a call that a column does not have, such as `e.amount.gte is not a function`. */
const NOT_A_FUNCTION = /(\w+)\.(\w+) is not a function/

function reportFailure(failure: string, source: SourcePlan, where: string, report: Report): void {
  const message = `the function that lists them failed: ${failure}`
  const [, fieldName = '', call = ''] = NOT_A_FUNCTION.exec(failure) ?? []
  const field = source.fields.find(each => each.name === fieldName)
  if (field !== undefined) {
    const operators = operatorsOf(field.type.kind).join(', ')
    const remedy = `correct the expression: a field of type ${typeName(field.type)} has ${operators}`
    report('HW0308', where, `${message}; "${field.name}" is ${typeName(field.type)} and has no ${call}`, remedy)
  } else report('HW0308', where, message, 'correct the expression or code that failed in this function')
}

function groupKey({ entity, options }: Group, source: SourcePlan, where: string, report: Report): string {
  const given = options['key']
  const name = given ?? entity.key
  const field = source.fields.find(each => each.name === name)
  if (field === undefined) {
    if (given === undefined) {
      report('HW0301', where, `event ${source.name} has no field "${entity.key}", the key of entity ${entity.name}`)
    } else report('HW0202', where, `key: ${unknownField(given, source.fields)}`)
  } else if (!isKeyType(field.type)) {
    report('HW0302', where, `"${field.name}" is ${typeName(field.type)}`)
  }
  return textOf(name)
}

interface GroupContext {
  readonly source: SourcePlan
  readonly keyField: string
  readonly maxAgeMs: number
}

function compileFeature(
  name: string,
  draft: FeatureDraft,
  group: GroupContext,
  where: string,
  report: Report,
  warn: Report,
): FeaturePlan | null {
  const { source } = group
  const { options } = draft
  checkOptions(options, FEATURE_OPTIONS, where, report)
  const window = compileWindow(draft, where, report)
  const include = (options['include'] ?? 'current') as Include
  if (!INCLUDES.includes(include)) {
    report('HW0210', where, `include is ${shownText(include)}; it is 'current', 'excludeSelf' or 'excludeInstant'`)
  }
  const filter = compileWhere(options['where'], source, where, report)
  const input = compileInput(draft, source, where, report)
  if (input === 'unknown') return null
  const made = compileAggregator(draft, input, where, report)
  if (made === null) return null
  const { ref, aggregator } = made
  const whenEmpty = compileWhenEmpty(options['whenEmpty'], made.valueType, input?.type ?? null, where, report)
  const label = [...filter.fields, input?.name ?? ''].find(field => LABEL_NAME.test(field))
  if (label !== undefined && window.delayMs === 0) {
    warn('HW0901', where, `it looks at "${label}", which reads like a label, without a delay`)
  }
  const used = [...filter.fields, input?.name ?? '', group.keyField, source.idField, source.timeField]
  const stateHash = hashOf({
    topic: source.topic,
    fields: source.fields
      .filter(field => used.includes(field.name))
      .map(field => ({ name: field.name, type: field.type }))
      .sort(byName),
    id: source.idField,
    time: source.timeField,
    key: group.keyField,
    input: input?.name ?? null,
    aggregator: { name: aggregator.name, params: ref.params, version: aggregator.version },
    where: filter.expression,
    window,
    latenessMs: source.latenessMs,
  })
  return {
    name,
    aggregator: ref,
    input: input?.name ?? null,
    where: filter.expression,
    window,
    include,
    whenEmpty,
    valueType: whenEmpty === null ? made.valueType : withoutNull(made.valueType),
    stateHash,
    definitionHash: hashOf({ stateHash, include, whenEmpty, maxAgeMs: group.maxAgeMs }),
    description: textOf(options['description']),
  }
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1
}

function compileWindow({ window, options }: FeatureDraft, where: string, report: Report): Window {
  const delayMs =
    options['delay'] === undefined ? 0 : checkDuration('delay', options['delay'], DELAY_BOUNDS, where, report)
  if (window === 'lifetime') return { kind: 'lifetime', delayMs }
  return { kind: 'sliding', lengthMs: checkDuration('the window', window, WINDOW_BOUNDS, where, report), delayMs }
}

function compileWhere(
  where: unknown,
  source: SourcePlan,
  place: string,
  report: Report,
): { readonly expression: Expression | null; readonly fields: readonly string[] } {
  if (where === undefined) return { expression: null, fields: [] }
  const checked = checkExpression(where, source)
  if (checked.ok) return { expression: checked.expression, fields: checked.fields }
  for (const message of checked.messages) report('HW0307', place, `where: ${message}`)
  return { expression: null, fields: [] }
}

function compileInput(
  draft: FeatureDraft,
  source: SourcePlan,
  where: string,
  report: Report,
): FieldPlan | null | 'unknown' {
  if (draft.input === null) return null
  const { op, name } = draft.input as { readonly op?: unknown; readonly name?: unknown }
  const field = op === 'field' ? source.fields.find(each => each.name === name) : undefined
  if (field !== undefined) return field
  const what = op === 'field' ? unknownField(name, source.fields) : 'the input is not a column of `e`'
  report('HW0303', where, what)
  return 'unknown'
}

interface Made {
  readonly ref: AggregatorRef
  readonly aggregator: Aggregator
  readonly valueType: string
}

function compileAggregator(draft: FeatureDraft, input: FieldPlan | null, where: string, report: Report): Made | null {
  const descriptor = AGGREGATORS.find(each => each.family === draft.family)
  const type = input?.type ?? null
  if (descriptor === undefined || !descriptor.accepts(type)) {
    const taken = TYPE_OF_EVERY_KIND.filter(each => descriptor?.accepts(each) === true).map(each => each.kind)
    const what = type === null ? 'needs a field' : `takes no field of type ${typeName(type)}, which "${input?.name}" is`
    report('HW0304', where, `${draft.family} ${what}; it takes ${taken.join(', ')}`)
    return null
  }
  const params = { ...defaultsOf(descriptor), ...draft.params } as AggregatorRef['params']
  try {
    const aggregator = descriptor.make(type, params)
    return { ref: { family: draft.family, params }, aggregator, valueType: descriptor.valueType(type, params) }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    report('HW0305', where, error.message)
    return null
  }
}

function defaultsOf(descriptor: AggregatorDescriptor): Record<string, number | boolean> {
  const defaults: Record<string, number | boolean> = {}
  for (const [name, spec] of Object.entries(descriptor.params)) if (spec.default !== null) defaults[name] = spec.default
  return defaults
}

const OR_NULL = ' | null'

function withoutNull(valueType: string): string {
  return valueType.endsWith(OR_NULL) ? valueType.slice(0, -OR_NULL.length) : valueType
}

function compileWhenEmpty(
  given: unknown,
  valueType: string,
  input: FieldType | null,
  where: string,
  report: Report,
): Value {
  if (given === undefined || given === null) return null
  const wrong = (message: string): null => {
    report('HW0306', where, `whenEmpty is ${shownText(given)}: ${message}`)
    return null
  }
  if (!valueType.endsWith(OR_NULL)) return wrong('this aggregator has a value for an empty window already')
  switch (withoutNull(valueType)) {
    case 'number':
      return typeof given === 'number' && Number.isFinite(given) ? given + 0 : wrong('a finite number is expected')
    case 'string':
      return typeof given === 'string' && given.isWellFormed() ? given : wrong('a string is expected')
    case 'boolean':
      return typeof given === 'boolean' ? given : wrong('true or false is expected')
    case 'readonly number[]': {
      const length = input?.kind === 'vector' ? input.length : 0
      const fits = Array.isArray(given) && given.length === length && given.every(item => Number.isFinite(item))
      return fits ? [...(given as readonly number[])] : wrong(`an array of ${length} finite numbers is expected`)
    }
    default:
      return wrong(`there is none for ${withoutNull(valueType)}: handle null where the feature is used`)
  }
}
