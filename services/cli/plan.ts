import type { Command } from 'commander'
import { estimateGroup, TYPICAL_EVENTS } from '../../features/plan/estimate.ts'
import type { Plan } from '../../features/plan/plan.ts'
import { bindPlan, EMPTY_CATALOGUE, placePlan, stateChange } from '../../features/plan/units.ts'
import type { StateChange } from '../../features/plan/units.ts'
import { readCatalogue } from '../../topology/runtime/catalogue.ts'
import type { Config } from '../../topology/runtime/config.ts'
import { checkSchemas } from '../../topology/runtime/schema-check.ts'
import { hasOnlineStore, openOnlineStore } from '../../topology/runtime/stores.ts'
import { systemClock } from '../clock.ts'
import { renderEstimates, renderPlan } from '../../features/plan/render.ts'
import type { GroupEstimate } from '../../features/plan/render.ts'
import { describeTopology, topologyOf } from '../../topology/topology.ts'
import { loadProject } from '../../topology/runtime/project.ts'
import { describeProblems, loadConfig } from '../load.ts'
import type { CommonFlags } from '../load.ts'
import { positiveNumber, withConfigFlags } from './options.ts'

/** What the plan changes in the state of this data folder; null where there is none yet. */
async function changeOf(config: Config, plan: Plan): Promise<StateChange | null> {
  if (!hasOnlineStore(config)) return null
  const store = await openOnlineStore(config, systemClock)
  try {
    return stateChange(plan, await readCatalogue(store))
  } finally {
    await store.close()
  }
}

function describeChange(change: StateChange | null): string {
  const title = 'changes to stored state'
  if (change === null) return `${title}: nothing is stored in this data folder yet`
  const byGroup = Map.groupBy(change.added, name => name.slice(0, name.indexOf('.')))
  const lines = [...byGroup].map(([group, names]) => {
    return `  new     ${group}: ${names.map(name => name.slice(group.length + 1)).join(', ')}`
  })
  if (lines.length > 0) lines.push('          computed from the first record in the log on, beside what is live')
  if (change.unusedUnits.length > 0)
    lines.push(`  unused  units ${change.unusedUnits.join(', ')}: no feature reads them any more`)
  return lines.length === 0 ? `${title}: none` : [title, ...lines].join('\n')
}

/** What an entity of each group takes where the plan is all that is stored; `perDay` in place of the groups' rates. */
function estimatesOf(plan: Plan, perDay: number | undefined): readonly GroupEstimate[] {
  const none = { incarnation: '', startOffsets: [], endOffsets: [] }
  const standings = new Map(plan.sources.map(source => [source.name, none]))
  const bound = bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, standings))
  const groups = [...bound.groups.values()]
  return groups.map(group => {
    const rate = { ...TYPICAL_EVENTS, eventsPerEntityPerDay: perDay ?? group.plan.eventsPerEntityPerDay }
    const units = new Set(group.features.map(feature => feature.unit))
    const sharing = groups.filter(other => other !== group && other.features.some(each => units.has(each.unit)))
    return {
      group: group.plan.name,
      rate,
      estimate: estimateGroup(group, rate),
      sharedWith: sharing.map(other => other.plan.name),
    }
  })
}

/** `headwater plan`: compiles the definitions and shows what they come to. */
export function addPlanCommand(program: Command): void {
  const command = program
    .command('plan')
    .description('compile the definitions into a frozen, hashed plan; reports all problems at once')
    .option('--json', 'print the plan, or the problems, as JSON')
    .option(
      '--events-per-day <number>',
      "estimate state for an entity with so many events a day, in place of each group's eventsPerEntityPerDay",
      positiveNumber(0.001, 86_400_000),
    )
  withConfigFlags(command).action(async (flags: CommonFlags & { json?: boolean; eventsPerDay?: number }) => {
    const { config, shipped } = await loadConfig(flags)
    if (shipped && flags.features === undefined) {
      process.stderr.write('no headwater.config.ts here: showing the shipped definitions\n')
    }
    const loaded = await loadProject(config.features)
    if (!loaded.ok) {
      if (flags.json === true) process.stdout.write(`${JSON.stringify({ problems: loaded.problems }, null, 2)}\n`)
      else process.stderr.write(`${describeProblems(loaded.problems)}\n`)
      process.exitCode = 1
      return
    }
    const { plan, warnings } = loaded.project
    const change = await changeOf(config, plan)
    const estimates = estimatesOf(plan, flags.eventsPerDay)
    const schemas = await checkSchemas(config, plan)
    if (flags.json === true)
      process.stdout.write(`${JSON.stringify({ plan, warnings, change, estimates, schemas }, null, 2)}\n`)
    else {
      const parts = [renderPlan(plan), renderEstimates(estimates), describeTopology(topologyOf(plan))]
      if (schemas.facts.length > 0) parts.push(['Avro schemas', ...schemas.facts].join('\n'))
      process.stdout.write(`${[...parts, describeChange(change)].join('\n\n')}\n`)
    }
    for (const warning of warnings)
      process.stderr.write(`warning ${warning.code} ${warning.where}: ${warning.message}\n`)
    for (const warning of schemas.warnings) process.stderr.write(`warning ${warning}\n`)
    for (const problem of schemas.problems) process.stderr.write(`error ${problem}\n`)
    if (schemas.problems.length > 0) process.exitCode = 1
  })
}
