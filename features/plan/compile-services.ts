import type { Derived, DerivedValue, Policy, Service } from '../define/index.ts'
import { definitionKind } from '../define/marks.ts'
import { derivedCompiler } from './derived-code.ts'
import type { DerivedCode } from './derived-code.ts'
import { checkName, shownText, textOf } from './compile-names.ts'
import { isKeyType } from './compile-sources.ts'
import type { GroupSource } from './group-source.ts'
import { memberField } from './group-source.ts'
import { hashOf } from './hash.ts'
import type { EntityPlan, GroupPlan, ServicePlan, SourcePlan } from './plan.ts'
import type { Report } from './problems.ts'

/** The functions of a service, which a plan cannot hold. */
export interface ServiceCode {
  /** In the order of the plan. */
  readonly derived: readonly DerivedCode[]
  readonly policy: Policy | null
}

/** What a service is compiled against: the plans made before it, by name. */
export interface ServiceContext {
  readonly sources: ReadonlyMap<string, SourcePlan>
  /** Events and unions as sources of groups. */
  readonly groupSources: ReadonlyMap<string, GroupSource>
  readonly entities: ReadonlyMap<string, EntityPlan>
  readonly groups: ReadonlyMap<string, GroupPlan>
  /** Of the module that exports the service. */
  readonly bundleHash: string | undefined
}

/** A service as the plan has it, with the code that the plan cannot hold. */
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
    const given: unknown = definition.request
    if (definitionKind(given) === 'union') {
      report('HW0408', where, `request is union ${(given as { readonly name: string }).name}`)
    } else report('HW0104', where, `request is ${shownText(given)}, not an event`)
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
    const source = context.groupSources.get(group.source)
    const entity = context.entities.get(group.entity)
    if (source === undefined || entity === undefined) continue
    const { missing } = requestKeyFields(group, source, request, entity)
    if (missing.length > 0) {
      const key = missing.map(name => `"${name}"`).join(', ')
      const what = missing.length === 1 ? `no key field ${key}, which names` : `no key fields ${key}, which name`
      report('HW0401', where, `event ${request.name} has ${what} the ${group.entity} of group ${group.name}`)
    }
  }
  return groups
}

/**
 * The fields of the request that name a group's entity: the group's own key fields when the request is an event of the
 * group's source, otherwise the fields with the names in the entity's key. `missing` are those of which the request has
 * none of a key's type.
 */
export function requestKeyFields(
  group: GroupPlan,
  source: GroupSource,
  request: SourcePlan,
  entity: EntityPlan,
): { readonly fields: readonly string[]; readonly missing: readonly string[] } {
  const member = source.members.find(each => each.source.name === request.name)
  const fields = member === undefined ? entity.keyFields : group.keyFields.map(name => memberField(member, name))
  const isKey = (name: string): boolean => request.fields.some(field => field.name === name && isKeyType(field.type))
  return { fields, missing: fields.filter(name => !isKey(name)) }
}

function compileDerived(
  definition: Service,
  request: SourcePlan,
  groups: readonly GroupPlan[],
  where: string,
  report: Report,
): ServiceCode['derived'] {
  const compile = derivedCompiler()
  const compiled: DerivedCode[] = []
  for (const [name, given] of Object.entries(definition.derived)) {
    const at = `${where}, derived ${name}`
    checkName('a derived feature', name, at, report)
    if (typeof given !== 'function') {
      report('HW0403', at, `it is ${shownText(given)}`)
      continue
    }
    checkNeeds(given, request, groups, at, new Set(), report)
    compiled.push(compile(name, given as (view: unknown) => unknown))
  }
  return compiled
}

/** Reports what a derived feature, or one that it needs, looks at and the service has not. */
function checkNeeds(
  given: unknown,
  request: SourcePlan,
  groups: readonly GroupPlan[],
  at: string,
  checked: Set<unknown>,
  report: Report,
): void {
  if (definitionKind(given) !== 'derived' || checked.has(given)) return
  checked.add(given)
  const needs = given as Derived<never, DerivedValue>
  if (needs.request !== null && needs.request.name !== request.name) {
    report('HW0404', at, `it looks at event ${needs.request.name}, the request is ${request.name}`)
  }
  for (const group of needs.groups) {
    if (!groups.some(each => each.name === group?.name)) report('HW0404', at, `it looks at group ${group?.name}`)
  }
  for (const [name, needed] of Object.entries(needs.derived)) {
    const below = `${at}, which looks at derived ${name}`
    if (definitionKind(needed) === 'derived') checkNeeds(needed, request, groups, below, checked, report)
    else report('HW0403', below, `that is ${shownText(needed)}, not what derived() returned`)
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
