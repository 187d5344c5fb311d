import { describeSchedules } from './simulation-schedules.ts'

describeSchedules('even')
