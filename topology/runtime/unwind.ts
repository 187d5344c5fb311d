/** What was started so far, to be stopped in the opposite order: at the end, or when a later step fails. */
export interface Unwind {
  add(step: () => unknown): void
  run(): Promise<void>
}

/** Starts with nothing to stop. */
export function createUnwind(): Unwind {
  const steps: (() => unknown)[] = []
  return {
    add: step => void steps.push(step),
    run: async () => {
      for (const step of steps.toReversed()) await step()
    },
  }
}
