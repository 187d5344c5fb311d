import type { Command } from 'commander'
import { renderPlan } from '../../features/plan/render.ts'
import { describeTopology, topologyOf } from '../../topology/topology.ts'
import { loadProject } from '../../topology/runtime/project.ts'
import { describeProblems, loadConfig } from '../load.ts'
import type { CommonFlags } from '../load.ts'
import { withConfigFlags } from './options.ts'

/** `headwater plan`: compiles the definitions and shows what they come to. */
export function addPlanCommand(program: Command): void {
  const command = program
    .command('plan')
    .description('compile the definitions into a frozen, hashed plan; reports all problems at once')
    .option('--json', 'print the plan, or the problems, as JSON')
  withConfigFlags(command).action(async (flags: CommonFlags & { json?: boolean }) => {
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
    if (flags.json === true) process.stdout.write(`${JSON.stringify({ plan, warnings }, null, 2)}\n`)
    else process.stdout.write(`${renderPlan(plan)}\n\n${describeTopology(topologyOf(plan))}\n`)
    for (const warning of warnings)
      process.stderr.write(`warning ${warning.code} ${warning.where}: ${warning.message}\n`)
  })
}
