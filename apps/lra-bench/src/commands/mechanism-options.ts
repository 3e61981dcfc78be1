import type { CommandUnknownOpts } from '@topk-attention/app-kit/node';
import { mechanisms } from '../model/mechanism.js';
import { type MechanismName, type MechanismOption, mechanismNames } from '../model/settings.js';

/** Ends the command where it names an option that none of its mechanisms has. */
export function requireUsed(
  command: CommandUnknownOpts,
  flag: '--mechanism' | '--mechanisms',
  named: readonly MechanismName[],
): void {
  for (const name of ['k', 'features', 'landmarks', 'redraw'] satisfies readonly MechanismOption[]) {
    const has = (one: MechanismName): boolean => mechanisms[one].options.includes(name);
    if (command.getOptionValueSource(name) === 'cli' && !named.some(has))
      command.error(`--${name} goes with ${flag} ${mechanismNames.filter(has).join(', ')}`);
  }
}
