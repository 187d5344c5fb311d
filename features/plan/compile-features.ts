import type { FeatureDraft } from '../define/features.ts'
import { AGGREGATORS, makeAggregator } from '../kernel/aggregators/index.ts'
import type { AggregatorDescriptor, ParamValue } from '../kernel/aggregators/index.ts'
import { SECTION_VERSION } from '../kernel/index.ts'
import type { Aggregator, FieldType, Include, Value, Window } from '../kernel/types.ts'
import { checkOptions, shownText, textOf } from './compile-names.ts'
import { checkFit, compileWindow } from './compile-windows.ts'
import { checkExpression, typeName, unknownField } from './expression-check.ts'
import { hashOf } from './hash.ts'
import { memberField } from './group-source.ts'
import type { GroupSource } from './group-source.ts'
import { TYPE_OF_EVERY_KIND } from './operators.ts'
import { wrapped, wrappingOf } from './partials.ts'
import type { AggregatorRef, Expression, FeaturePlan, FieldOwner, FieldPlan } from './plan.ts'
import type { Report } from './problems.ts'

const FEATURE_OPTIONS = ['where', 'delay', 'edge', 'include', 'whenEmpty', 'description']
const INCLUDES: readonly unknown[] = ['current', 'excludeSelf', 'excludeInstant']

/** What an option may also be: a parameter of some aggregator, which the aggregator itself then checks. */
const PARAMETERS: ReadonlySet<string> = new Set(AGGREGATORS.flatMap(each => Object.keys(each.params)))

/** Field names that tell of an outcome which becomes known only later. */
const LABEL_NAME =
  /^(is_?|has_?|was_?)?(fraud|fraudulent|fraud_?label|label|target|chargeback|charged_?back|spam|churned)$/i

/** What a feature takes over from its group. */
export interface GroupContext {
  readonly source: GroupSource
  readonly keyFields: readonly string[]
  readonly maxAgeMs: number
}

/** The plan of a feature, or null where too little of it can be understood; what is wrong is reported. */
export function compileFeature(
  name: string,
  draft: FeatureDraft,
  group: GroupContext,
  where: string,
  report: Report,
  warn: Report,
): FeaturePlan | null {
  const { source } = group
  const { options } = draft
  const descriptor = AGGREGATORS.find(each => each.family === draft.family)
  checkFeatureOptions(options, descriptor, where, report)
  const window = compileWindow(draft, where, report)
  if (descriptor !== undefined) checkFit(descriptor, window, group, where, report)
  const include = (options['include'] ?? 'current') as Include
  if (!INCLUDES.includes(include)) {
    report('HW0210', where, `include is ${shownText(include)}; it is 'current', 'excludeSelf' or 'excludeInstant'`)
  }
  const filter = compileWhere(options['where'], source, where, report)
  const input = compileInput('the input', draft.input, source, where, report)
  const by = compileInput('what it goes by', draft.by, source, where, report)
  if (input === 'unknown' || by === 'unknown') return null
  const made = compileAggregator(draft, descriptor, { input, by, window }, where, report)
  if (made === null) return null
  const { ref, aggregator } = made
  const whenEmpty = compileWhenEmpty(options['whenEmpty'], made.valueType, input?.type ?? null, where, report)
  const read = [...filter.fields, ...(input === null ? [] : [input.name]), ...(by === null ? [] : [by.name])]
  const label = read.find(field => LABEL_NAME.test(field))
  if (label !== undefined && window.delayMs === 0) {
    warn('HW0901', where, `it looks at "${label}", which reads like a label, without a delay`)
  }
  const stateHash = hashOf({
    section: SECTION_VERSION,
    ...fedFrom(source, [...read, ...group.keyFields]),
    key: group.keyFields.length === 1 ? group.keyFields[0] : group.keyFields,
    input: input?.name ?? null,
    by: by?.name ?? null,
    aggregator: { ...identityOf(aggregator), params: ref.params },
    where: filter.expression,
    window,
  })
  return {
    name,
    aggregator: ref,
    input: input?.name ?? null,
    by: by?.name ?? null,
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

/** What the state depends on: of the events that feed it, which of them count, and the fields that are looked at. */
function fedFrom(source: GroupSource, read: readonly string[]): object {
  const fed = source.members.map(member => {
    const { topic, idField, timeField, latenessMs, clockSkewMs, fields } = member.source
    const used = [...read.map(name => memberField(member, name)), idField, timeField]
    return {
      topic,
      fields: fields
        .filter(field => used.includes(field.name))
        .map(field => ({ name: field.name, type: field.type }))
        .sort(byName),
      id: idField,
      time: timeField,
      latenessMs,
      clockSkewMs,
      map: member.fields === null ? null : Object.fromEntries(read.map(name => [name, memberField(member, name)])),
    }
  })
  const [first, ...others] = fed
  if (first !== undefined && others.length === 0 && first.map === null) {
    const { map: _none, ...event } = first
    return event
  }
  return { union: fed.sort((a, b) => (a.topic < b.topic ? -1 : 1)) }
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1
}

/** Names and versions of an aggregator and of what it wraps. */
function identityOf({ name, version, inner }: Aggregator): object {
  return { name, version, inner: inner === undefined ? null : identityOf(inner) }
}

type Options = Readonly<Record<string, unknown>>

function checkFeatureOptions(
  options: Options,
  descriptor: AggregatorDescriptor | undefined,
  where: string,
  report: Report,
): void {
  const others = Object.fromEntries(Object.entries(options).filter(([name]) => !PARAMETERS.has(name)))
  checkOptions(others, FEATURE_OPTIONS, where, report)
  if (descriptor !== undefined && options['halfLifeMs'] !== undefined) {
    report('HW0105', where, `there is no option "halfLifeMs"; there are ${FEATURE_OPTIONS.join(', ')}`)
  }
}

function compileWhere(
  where: unknown,
  source: FieldOwner,
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
  role: string,
  input: unknown,
  source: FieldOwner,
  where: string,
  report: Report,
): FieldPlan | null | 'unknown' {
  if (input === null) return null
  const { op, name, value } = input as { readonly op?: unknown; readonly name?: unknown; readonly value?: unknown }
  const field = op === 'field' ? source.fields.find(each => each.name === name) : undefined
  if (field !== undefined) return field
  if (op === 'field') report('HW0303', where, unknownField(name, source.fields))
  else if (typeof value === 'function') {
    report('HW0303', where, `${role} is an aggregator of \`e\`: a field named as one is e.field('name')`)
  } else report('HW0303', where, `${role} is not a column of \`e\``)
  return 'unknown'
}

interface Made {
  readonly ref: AggregatorRef
  readonly aggregator: Aggregator
  readonly valueType: string
}

interface Inputs {
  readonly input: FieldPlan | null
  readonly by: FieldPlan | null
  readonly window: Window
}

function compileAggregator(
  draft: FeatureDraft,
  descriptor: AggregatorDescriptor | undefined,
  { input, by, window }: Inputs,
  where: string,
  report: Report,
): Made | null {
  const { family } = draft
  const type = input?.type ?? null
  const byType = by?.type ?? null
  if (descriptor === undefined) {
    report('HW0305', where, `no aggregator is named ${family}`)
    return null
  }
  if (!descriptor.accepts(type)) {
    const taken = TYPE_OF_EVERY_KIND.filter(each => descriptor.accepts(each)).map(each => each.kind)
    const what = type === null ? 'needs a field' : `takes no field of type ${typeName(type)}, which "${input?.name}" is`
    report('HW0304', where, `${family} ${what}; it takes ${taken.join(', ') || 'none'}`)
    return null
  }
  if (!descriptor.acceptsBy(byType)) {
    const taken = TYPE_OF_EVERY_KIND.filter(each => descriptor.acceptsBy(each)).map(each => each.kind)
    const what =
      byType === null
        ? 'needs a second field'
        : `takes no second field of type ${typeName(byType)}, which "${by?.name}" is`
    report('HW0304', where, `${family} ${what}; as the second it takes ${taken.join(', ') || 'none'}`)
    return null
  }
  const own = Object.entries(draft.options).filter(([option]) => PARAMETERS.has(option))
  const halfLife = window.kind === 'decay' ? { halfLifeMs: window.halfLifeMs } : {}
  const given = { ...defaultsOf(descriptor), ...Object.fromEntries(own), ...draft.params, ...halfLife }
  const params = given as AggregatorRef['params']
  try {
    const aggregator = wrapped(makeAggregator(family, params, type, byType), wrappingOf(window), type, byType)
    return { ref: { family, params }, aggregator, valueType: descriptor.valueType(type, params) }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    report('HW0305', where, error.message)
    return null
  }
}

function defaultsOf(descriptor: AggregatorDescriptor): Record<string, ParamValue> {
  const defaults: Record<string, ParamValue> = {}
  for (const [name, spec] of Object.entries(descriptor.params)) {
    if ('default' in spec && spec.default !== null) defaults[name] = spec.default
  }
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
