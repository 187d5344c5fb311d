import type { Derived, Policy, Service } from '../define/index.ts'
import { definitionKind } from '../define/marks.ts'
import type { Value } from '../kernel/types.ts'
import { checkName, shownText, textOf } from './compile-names.ts'
import { isKeyType } from './compile-sources.ts'
import { hashOf } from './hash.ts'
import type { EntityPlan, GroupPlan, ServicePlan, SourcePlan } from './plan.ts'
import type { Report } from './problems.ts'

/** The functions of a service, which a plan cannot hold. */
export interface ServiceCode {
  /** In order of evaluation. `evaluate` may throw: what the author's function threw, or `TypeError` for no value. */
  readonly derived: readonly { readonly name: string; evaluate(view: unknown): Value }[]
  readonly policy: Policy | null
}

/** What a service is compiled against: the plans made before it, by name. */
export interface ServiceContext {
  readonly sources: ReadonlyMap<string, SourcePlan>
  readonly entities: ReadonlyMap<string, EntityPlan>
  readonly groups: ReadonlyMap<string, GroupPlan>
  /** Of the module that exports the service. */
  readonly bundleHash: string | undefined
}

export interface CompiledService {
  readonly plan: ServicePlan
  readonly code: ServiceCode
}

const MODEL_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/

/** The plan and the code of a service, or null when its request is no event; what is wrong is reported. */
export function compileService(definition: Service, context: ServiceContext, report: Report): CompiledService | null {
  const { name } = definition
  const where = `service ${name}`
  checkName('a service', name, where, report)
  const request =
    definitionKind(definition.request) === 'event' ? context.sources.get(definition.request.name) : undefined
  if (request === undefined) {
    report('HW0104', where, `request is ${shownText(definition.request)}, not an event`)
    return null
  }
  const groups = compileGroups(definition, request, context, where, report)
  const derived = compileDerived(definition, request, groups, where, report)
  const { policy } = definition
  if (policy !== null) {
    if (definitionKind(policy) !== 'policy') report('HW0104', where, `policy is ${shownText(policy)}, not a policy`)
    else checkUse(policy, groups, derived, where, report)
  }
  if (definition.model !== null && (typeof definition.model !== 'string' || !MODEL_NAME.test(definition.model))) {
    report('HW0407', where, `model is ${shownText(definition.model)}`)
  }
  const hasCode = derived.length > 0 || policy !== null
  if (hasCode && context.bundleHash === undefined) report('HW0406', where, 'its module has no bundle hash')
  const bundleHash = hasCode ? (context.bundleHash ?? '') : hashOf('no code')
  const basics = {
    name,
    request: request.name,
    groups: groups.map(group => group.name),
    derived: derived.map(each => each.name),
    model: definition.model,
    policy: policy === null ? null : policyPlan(policy, bundleHash),
    bundleHash,
  }
  const definitionHash = hashOf({
    ...basics,
    name: null,
    request: request.fields.map(field => ({ name: field.name, type: field.type, optional: field.optional })),
    features: groups.map(group => group.features.map(feature => [feature.name, feature.definitionHash])),
  })
  return {
    plan: { ...basics, definitionHash, description: textOf(definition.description) },
    code: { derived, policy },
  }
}

function policyPlan(policy: Policy, bundleHash: string): ServicePlan['policy'] {
  return {
    name: textOf(policy.name),
    version: policy.version ?? bundleHash.slice(0, 12),
    outcomes: [...listOf(policy.outcomes)],
  }
}

function listOf<T>(value: readonly T[]): readonly T[] {
  return Array.isArray(value) ? value : []
}

function compileGroups(
  definition: Service,
  request: SourcePlan,
  context: ServiceContext,
  where: string,
  report: Report,
): readonly GroupPlan[] {
  const groups: GroupPlan[] = []
  if (!Array.isArray(definition.groups))
    report('HW0104', where, `groups is ${shownText(definition.groups)}, not a list`)
  for (const given of listOf(definition.groups)) {
    if (definitionKind(given) !== 'group') {
      report('HW0104', where, `groups holds ${shownText(given)}, not a group`)
      continue
    }
    const group = context.groups.get(given.name)
    if (group === undefined) continue
    if (groups.includes(group)) report('HW0402', where, `group ${group.name} is listed twice`)
    else groups.push(group)
    if (requestKeyField(group, request, context.entities.get(group.entity)) === null) {
      const key = context.entities.get(group.entity)?.keyField ?? ''
      report(
        'HW0401',
        where,
        `event ${request.name} has no key field "${key}", which names the ${group.entity} of group ${group.name}`,
      )
    }
  }
  return groups
}

/**
 * The field of the request that names a group's entity: the group's own key field when both have the same source,
 * otherwise the field with the entity's key name. Null when there is none of a key's type.
 */
export function requestKeyField(group: GroupPlan, request: SourcePlan, entity: EntityPlan | undefined): string | null {
  const name = group.source === request.name ? group.keyField : entity?.keyField
  const field = request.fields.find(each => each.name === name)
  return field !== undefined && isKeyType(field.type) ? field.name : null
}

function compileDerived(
  definition: Service,
  request: SourcePlan,
  groups: readonly GroupPlan[],
  where: string,
  report: Report,
): ServiceCode['derived'] {
  const compiled: { name: string; evaluate(view: unknown): Value }[] = []
  for (const [name, given] of Object.entries(definition.derived)) {
    const at = `${where}, derived ${name}`
    checkName('a derived feature', name, at, report)
    if (typeof given !== 'function') {
      report('HW0403', at, `it is ${shownText(given)}`)
      continue
    }
    if (definitionKind(given) === 'derived') {
      const needs = given as unknown as Derived<unknown, null>
      if (needs.request !== null && needs.request.name !== request.name) {
        report('HW0404', at, `it looks at event ${needs.request.name}, the request is ${request.name}`)
      }
      for (const group of needs.groups) {
        if (!groups.some(each => each.name === group?.name)) report('HW0404', at, `it looks at group ${group?.name}`)
      }
    }
    compiled.push({ name, evaluate: guarded(name, given as (view: unknown) => unknown) })
  }
  return compiled
}

function guarded(name: string, evaluate: (view: unknown) => unknown): (view: unknown) => Value {
  return view => {
    const value = evaluate(view)
    switch (typeof value) {
      case 'number':
        return value + 0
      case 'string':
      case 'boolean':
      case 'bigint':
        return value
      default:
        if (value === null) return null
        throw new TypeError(
          `derived feature ${name} returned ${shownText(value)}, not a number, string, boolean, bigint or null`,
        )
    }
  }
}

function checkUse(
  policy: Policy,
  groups: readonly GroupPlan[],
  derived: ServiceCode['derived'],
  where: string,
  report: Report,
): void {
  for (const name of policy.groups) {
    if (!groups.some(group => group.name === name))
      report('HW0404', where, `policy ${policy.name} looks at group ${name}`)
  }
  for (const name of policy.derived) {
    if (!derived.some(each => each.name === name))
      report('HW0404', where, `policy ${policy.name} looks at derived ${name}`)
  }
}

/** Reports what is wrong with a policy in itself. */
export function checkPolicy(policy: Policy, report: Report): void {
  const where = `policy ${policy.name}`
  checkName('a policy', policy.name, where, report)
  const outcomes = listOf(policy.outcomes)
  if (outcomes.length === 0) report('HW0405', where, 'it has no outcomes')
  for (const [index, outcome] of outcomes.entries()) {
    checkName('an outcome', outcome, where, report)
    if (outcomes.indexOf(outcome) < index) report('HW0405', where, `outcome ${outcome} is listed twice`)
  }
  const known = (what: string, outcome: unknown): void => {
    if (!outcomes.includes(outcome as string)) {
      report('HW0405', where, `${what} gives ${shownText(outcome)}; the outcomes are ${outcomes.join(', ')}`)
    }
  }
  known('fallback', policy.fallback)
  const names = new Set<unknown>()
  for (const rule of listOf(policy.rules)) {
    if (typeof rule?.name !== 'string' || rule.name === '') report('HW0405', where, 'a rule has no name')
    else if (names.has(rule.name)) report('HW0405', where, `two rules are named ${rule.name}`)
    names.add(rule?.name)
    if (typeof rule?.when !== 'function') report('HW0405', where, `rule ${rule?.name} has no function \`when\``)
    known(`rule ${rule?.name}`, rule?.outcome)
  }
  checkThresholds(policy, outcomes, where, report, known)
}

function checkThresholds(
  policy: Policy,
  outcomes: readonly string[],
  where: string,
  report: Report,
  known: (what: string, outcome: unknown) => void,
): void {
  for (const name of Object.keys(policy.thresholds)) known('a threshold', name)
  let last = -Infinity
  for (const [index, outcome] of outcomes.entries()) {
    const threshold: unknown = policy.thresholds[outcome]
    if (threshold === undefined) continue
    if (typeof threshold !== 'number' || !Number.isFinite(threshold)) {
      report('HW0405', where, `the threshold of ${outcome} is ${shownText(threshold)}, not a finite number`)
    } else if (index === 0) report('HW0405', where, `${outcome} is the best outcome and takes no threshold`)
    else if (threshold <= last)
      report('HW0405', where, `the threshold of ${outcome} is not above that of a better outcome`)
    else last = threshold
  }
}
