import { lineChartFile } from '@topk-attention/app-kit';
import {
  Command,
  type CommandUnknownOpts,
  type Io,
  note,
  writeFileAtomically,
} from '@topk-attention/app-kit/node';
import { curveCharts } from '../curves.js';
import { RunFolder } from '../run-folder.js';

/** `curves`: the test losses of runs, as one SVG. */
export function curvesCommand(io: Io): CommandUnknownOpts {
  return new Command('curves')
    .summary('draws the test losses of runs')
    .description('Draws test losses over steps: a chart for each text, a line for each mechanism.')
    .usage('--out FILE DIR...')
    .argument('<DIR...>', 'folders that train wrote')
    .requiredOption('--out <FILE>', 'the SVG file')
    .action((folders, { out }) => {
      const runs = folders.map((path) => new RunFolder(path));
      const charts = curveCharts(runs.map((run) => ({ config: run.config(), metrics: run.metrics() })));
      writeFileAtomically(out, lineChartFile('Test losses over steps', charts));
      note(io, `${out}: ${runs.length} runs`);
    });
}
