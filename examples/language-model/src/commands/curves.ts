import { linePanels } from '@topk-attention/app-kit';
import {
  Command,
  type CommandUnknownOpts,
  type Io,
  note,
  writeFileAtomically,
} from '@topk-attention/app-kit/node';
import { curvePanels } from '../curves.js';
import { RunFolder } from '../run-folder.js';

/** `curves`: the test losses of runs, as one SVG. */
export function curvesCommand(io: Io): CommandUnknownOpts {
  return new Command('curves')
    .summary('draws the test losses of runs')
    .description('Draws test losses over steps: a panel for each text, a line for each mechanism.')
    .usage('--out FILE DIR...')
    .argument('<DIR...>', 'folders that train wrote')
    .requiredOption('--out <FILE>', 'the SVG file')
    .action((folders, { out }) => {
      const runs = folders.map((path) => new RunFolder(path));
      const panels = curvePanels(runs.map((run) => ({ config: run.config(), metrics: run.metrics() })));
      writeFileAtomically(out, linePanels('Test losses over steps', panels));
      note(io, `${out}: ${runs.length} runs`);
    });
}
