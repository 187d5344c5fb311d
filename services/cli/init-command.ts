import type { Command } from 'commander'
import { UsageError } from '../load.ts'
import { initProject } from './init.ts'

/** `headwater init`: a project of the user's own. */
export function addInitCommand(program: Command): void {
  program
    .command('init')
    .description('make a project of your own in a new folder')
    .argument('<folder>', 'the folder to make')
    .option('--force', 'write into a folder that is not empty')
    .action(async (directory: string, flags: { force?: boolean }) => {
      const made = await initProject({ directory, force: flags.force === true }).catch((error: unknown) => {
        throw new UsageError(error instanceof Error ? error.message : String(error))
      })
      const lines = [`made ${made.directory}: ${made.written.join(', ')}`]
      if (made.kept.length > 0) lines.push(`left as they were: ${made.kept.join(', ')}`)
      process.stdout.write(`${lines.join('\n')}\n\nnext:\n${made.nextSteps.map(step => `  ${step}`).join('\n')}\n`)
    })
}
