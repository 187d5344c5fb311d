import type { Value } from '../../features/kernel/types.ts'
import type { ServiceCode } from '../../features/plan/compile.ts'
import type { SharedAnswers } from '../../features/plan/derived-code.ts'
import { eventDecoder } from '../../features/plan/event.ts'
import type { DecodedEvent, EventDecoder } from '../../features/plan/event.ts'
import type { ServicePlan, SourcePlan } from '../../features/plan/plan.ts'
import { inputSource, modelInputValue } from './model-input.ts'
import type { ScoringOptions, ServedModel } from './options.ts'
import { logSeldom } from './seldom.ts'
import type { WarningContext } from './seldom.ts'
import { DEFAULT, FRESH, MISSING, OUT_OF_RANGE, STALE, selectGroups } from './selection.ts'
import type { FeatureRow, Selection } from './selection.ts'

/** One model input: where its value comes from and what stands in for a null. */
interface InputBinding {
  readonly name: string
  readonly requestField: string | null
  readonly featureIndex: number
  readonly whenNull: number
}

/** A service of the plan with everything that a row needs. */
export interface ServiceRuntime {
  readonly plan: ServicePlan
  readonly code: ServiceCode
  readonly source: SourcePlan
  readonly decoder: EventDecoder
  readonly selection: Selection
  readonly served: ServedModel | null
  readonly inputs: readonly InputBinding[]
  readonly inputTemplate: Readonly<Record<string, number | null>>
}

/** What derived functions and policies see. */
export type View = Readonly<Record<string, Readonly<Record<string, Value>>>>

/**
 * Prepares a service. Throws RangeError when the code does not fit the plan or the model wants an input that the
 * service has not.
 */
export function prepareService(options: ScoringOptions, plan: ServicePlan): ServiceRuntime {
  const { bound, services, models } = options
  const code = services.get(plan.name)
  if (code === undefined) throw new RangeError(`service "${plan.name}" has no code: compile the definitions again`)
  const codeNames = code.derived.map(derived => derived.name)
  if (codeNames.join() !== plan.derived.join()) {
    const found = codeNames.join(', ') || 'none'
    throw new RangeError(
      `service "${plan.name}" derives ${plan.derived.join(', ') || 'none'} but its code has ${found}`,
    )
  }
  const source = bound.plan.sources.find(s => s.name === plan.request)
  if (source === undefined) throw new RangeError(`service "${plan.name}" scores unknown event "${plan.request}"`)
  const groups = plan.groups.map(name => {
    const group = bound.groups.get(name)
    if (group === undefined) throw new RangeError(`service "${plan.name}" uses unknown group "${name}"`)
    return group
  })
  const selection = selectGroups(bound, groups, plan.request, plan.derived)
  const served = plan.model === null ? null : (models.get(plan.model) ?? null)
  const inputs = (served?.manifest.inputs ?? []).map((input): InputBinding => {
    const from = inputSource(input.name)
    const requestField = from?.kind === 'request' ? from.field : null
    const featureIndex = from?.kind === 'feature' ? selection.names.indexOf(from.name) : -1
    const known = requestField === null ? featureIndex >= 0 : source.fields.some(field => field.name === requestField)
    if (!known) throw new RangeError(`model "${plan.model}" wants input "${input.name}", which "${plan.name}" has not`)
    return { name: input.name, requestField, featureIndex, whenNull: input.default }
  })
  if (served !== null && served.model.inputWidth !== inputs.length) {
    const width = served.model.inputWidth
    throw new RangeError(`model "${plan.model}" takes ${width} values, its manifest names ${inputs.length} inputs`)
  }
  const inputTemplate = JSON.parse(`{${inputs.map(i => `${JSON.stringify(i.name)}:null`).join(',')}}`) as Record<
    string,
    number | null
  >
  return { plan, code, source, decoder: eventDecoder(source), selection, served, inputs, inputTemplate }
}

/** The view of a row: `request`, each group by name, `derived` (empty until `derive` fills it). */
export function viewOf(selection: Selection, request: Readonly<Record<string, Value>>, row: FeatureRow): View {
  const view: Record<string, Readonly<Record<string, Value>>> = { request }
  for (const group of selection.groups) {
    const values: Record<string, Value> = { ...group.template }
    const { featureNames, first } = group
    for (let index = 0; index < featureNames.length; index++) {
      values[featureNames[index] ?? ''] = row.values[first + index] ?? null
    }
    view[group.name] = values
  }
  view['derived'] = {}
  return view
}

/**
 * Evaluates the derived features into the view and the row; what several of them look at is computed once. One that
 * throws or answers no value is null, `missing` and counted, and so is each that looks at it; the others go on.
 * Derived features are `stale` when any group of the service is.
 */
export function derive(
  service: ServiceRuntime,
  view: View,
  row: FeatureRow,
  stale: boolean,
  context: WarningContext,
): void {
  const { selection, code } = service
  const into = view['derived'] as Record<string, Value>
  const shared: SharedAnswers = new Map()
  let index = selection.readCount
  for (const derived of code.derived) {
    let value: Value = null
    try {
      value = checkedValue(derived.evaluate(view, shared))
    } catch (error) {
      const fields = { service: service.plan.name, feature: derived.name }
      context.telemetry.count('derived_failures', 1, fields)
      const warning = { level: 'warn', message: 'a derived feature failed', fields, error } as const
      logSeldom(context, service, derived.name, warning)
    }
    into[derived.name] = value
    row.values[index] = value
    row.codes[index] = value === null ? MISSING : stale ? STALE : FRESH
    index++
  }
}

function checkedValue(value: unknown): Value {
  if (value === undefined || value === null) return null
  if (typeof value === 'number') return value === 0 ? 0 : value
  if (typeof value === 'string' || typeof value === 'boolean' || typeof value === 'bigint') return value
  if (Array.isArray(value)) return value.map(checkedValue)
  throw new TypeError(`a derived feature must answer a value, found ${typeof value}`)
}

/**
 * Writes the model's inputs of a row into `out` from `offset`; where a default stands in for a feature, the feature's
 * status says so.
 */
export function writeInputs(
  service: ServiceRuntime,
  request: Readonly<Record<string, Value>>,
  row: FeatureRow,
  out: Float32Array,
  offset: number,
): void {
  const { inputs } = service
  for (let index = 0; index < inputs.length; index++) {
    const binding = inputs[index]
    if (binding === undefined) continue
    const { requestField, featureIndex } = binding
    const value = modelInputValue((requestField === null ? row.values[featureIndex] : request[requestField]) ?? null)
    out[offset + index] = value ?? binding.whenNull
    if (value === null && requestField === null && row.codes[featureIndex] !== OUT_OF_RANGE) {
      row.codes[featureIndex] = DEFAULT
    }
  }
}

/** What the model was given, by input name; null where the default stood in. */
export function namedInputs(
  service: ServiceRuntime,
  request: Readonly<Record<string, Value>>,
  row: FeatureRow,
): Record<string, number | null> {
  const named: Record<string, number | null> = { ...service.inputTemplate }
  for (const { name, requestField, featureIndex } of service.inputs) {
    named[name] = modelInputValue((requestField === null ? row.values[featureIndex] : request[requestField]) ?? null)
  }
  return named
}

/** An event that passed its source's checks, with the values that authors see. */
export interface CheckedEvent {
  readonly event: DecodedEvent
  readonly values: Readonly<Record<string, Value>>
}
