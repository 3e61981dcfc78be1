import { Command, type CommandUnknownOpts, type Io, packageVersion } from '@topk-attention/app-kit/node';
import { askCommand } from './commands/ask.js';
import { evalCommand } from './commands/eval.js';
import { exportCommand } from './commands/export.js';
import { inspectCommand } from './commands/inspect.js';
import { startCommand } from './commands/start.js';
import { suggestKCommand } from './commands/suggest-k.js';

/** The whole command line, as it is called from the root of the repository. */
export function createProgram(io: Io): CommandUnknownOpts {
  const version = packageVersion(new URL('../package.json', import.meta.url));
  return new Command('pnpm qa')
    .description(
      'Questions answered over long texts by a T5 with top-k attention and top-k feed-forward layers.',
    )
    .usage('<command> [options]')
    .version(`topk-qa ${version}, Node ${process.versions.node}`, '--version', 'print versions')
    .addCommand(askCommand(io))
    .addCommand(evalCommand(io))
    .addCommand(exportCommand(io))
    .addCommand(inspectCommand(io))
    .addCommand(startCommand(io))
    .addCommand(suggestKCommand(io))
    .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 usage error, 130 interrupted.');
}
