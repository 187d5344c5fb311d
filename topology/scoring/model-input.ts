import type { FieldType, Value } from '../../features/kernel/types.ts'
import type { Plan, ServicePlan } from '../../features/plan/plan.ts'
import type { ModelManifest } from '../ports/model-repository.ts'

/**
 * What a model is given for a value: a boolean is 0 or 1, an int64 the nearest double. null stands for what a model
 * cannot be given (null, NaN, a text, a list), for which its trained default stands in. Training uses the same rule.
 */
export function modelInputValue(value: Value): number | null {
  if (typeof value === 'number') return Number.isNaN(value) ? null : value
  if (typeof value === 'boolean') return value ? 1 : 0
  if (typeof value === 'bigint') return Number(value)
  return null
}

/** Where a model input comes from. */
export type InputSource =
  | { readonly kind: 'request'; readonly field: string }
  /** `name` is `group.feature` or `derived.name`. */
  | { readonly kind: 'feature'; readonly name: string }

/** Splits an input's name; null when it does not look like `group.feature`. */
export function inputSource(name: string): InputSource | null {
  const dot = name.indexOf('.')
  if (dot <= 0 || dot === name.length - 1) return null
  if (name.startsWith('request.')) return { kind: 'request', field: name.slice(dot + 1) }
  return { kind: 'feature', name }
}

function isNumeric(type: FieldType): boolean {
  return type.kind !== 'string' && type.kind !== 'vector'
}

/**
 * Every way in which a model does not fit a service of the plan, each naming the input and the remedy; empty when it
 * fits. Run before a model is served: a mismatch is an error of the deployment, never of a call.
 */
export function checkManifestAgainstPlan(manifest: ModelManifest, plan: Plan, service: ServicePlan): string[] {
  const model = `model ${manifest.name} ${manifest.version}`
  const problems: string[] = []
  if (service.model !== manifest.name) {
    problems.push(`${model} is not the model of service ${service.name}, which names ${service.model ?? 'none'}`)
  }
  const source = plan.sources.find(s => s.name === service.request)
  for (const { name } of manifest.inputs) {
    const [group = '', feature = ''] = name.split('.')
    const remedy = `train it on service ${service.name} of this plan, or add what is missing`
    if (group === 'request') {
      const field = source?.fields.find(f => f.name === feature)
      if (field === undefined) problems.push(`${model} wants ${name}: ${service.request} has no such field; ${remedy}`)
      else if (!isNumeric(field.type))
        problems.push(`${model} wants ${name}, which is a ${field.type.kind}, not a number`)
    } else if (group === 'derived') {
      if (!service.derived.includes(feature)) {
        problems.push(`${model} wants ${name}: service ${service.name} derives no ${feature}; ${remedy}`)
      }
    } else {
      problems.push(...groupInputProblems(plan, service, model, name, remedy))
    }
  }
  return problems
}

function groupInputProblems(
  plan: Plan,
  service: ServicePlan,
  model: string,
  name: string,
  remedy: string,
): readonly string[] {
  const [groupName = '', featureName = ''] = name.split('.')
  const group = plan.groups.find(g => g.name === groupName)
  if (group === undefined) return [`${model} wants ${name}: the plan has no group ${groupName}; ${remedy}`]
  if (!service.groups.includes(groupName)) {
    return [`${model} wants ${name}: service ${service.name} does not use group ${groupName}; ${remedy}`]
  }
  const feature = group.features.find(f => f.name === featureName)
  if (feature === undefined) return [`${model} wants ${name}: group ${groupName} has no such feature; ${remedy}`]
  const type = feature.valueType.replaceAll(/\s|\|?\s*null\b/g, '')
  if (type.startsWith('string') || type.endsWith('[]') || type.startsWith('readonly')) {
    return [`${model} wants ${name}, whose values are ${feature.valueType}, not numbers`]
  }
  return []
}
