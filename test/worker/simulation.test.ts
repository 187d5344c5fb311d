import { describeSchedules } from './simulation-schedules.ts'

describeSchedules('odd')
