import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { textTable } from '@topk-attention/app-kit';
import {
  Command,
  type CommandUnknownOpts,
  type Io,
  print,
  requireWritable,
  shownPath,
  writeFileAtomically,
} from '@topk-attention/app-kit/node';
import { readBench } from '../bench/result.js';
import { mechanismTitle } from '../model/mechanism.js';
import { retrievalsJson, retrievalTable } from '../needles/tables.js';
import { collectRuns, type NeedleRun, type Section, sectionsOf } from '../report/collect.js';
import { crossingPicture } from '../report/crossing-picture.js';
import { type Reported, reportMarkdown, reportPage } from '../report/page.js';
import { reportPicture } from '../report/picture.js';
import { groupsOf } from '../report/summary.js';
import { accuracyTable, factsOf, sectionTitle } from '../report/tables.js';
import { calledAs } from './called-as.js';
import { listOf } from './option-values.js';

const notes = `
Folders may come from anywhere: those of several machines are merged. A table never mixes configurations: runs of one
task that differ in model, training or data are an error, or with --separate a table each.

Example:
  pnpm lra report --runs runs,other-machine/runs --bench attention.json --out report`;

export interface ReportOptions {
  readonly json?: true;
  readonly runs: readonly string[];
  readonly bench?: readonly string[];
  readonly separate?: true;
  readonly out: string;
}

/** `report`: what the runs showed, as a page and as Markdown. */
export function reportCommand(io: Io): CommandUnknownOpts {
  const command = new Command('report')
    .summary('one page and one Markdown file of all runs')
    .description('Tables and charts of all runs, as one self-contained page and as Markdown.')
    .usage('[--runs DIR[,DIR]] [--bench FILE[,FILE]] [options]')
    .option('--json', 'print one JSON object on standard output, errors included')
    .option(
      '--runs <DIR,...>',
      'run folders, or folders of them',
      listOf((text) => text),
    )
    .option(
      '--bench <FILE,...>',
      'files that bench or compare wrote; a report of them needs no runs',
      listOf((text) => text),
    )
    .option('--separate', 'a table for each configuration of a task')
    .option(
      '--out <DIR>',
      'folder for lra.html, lra.md, lra.svg and, of mechanisms by length, crossings.svg',
      'report',
    )
    .addHelpText('after', notes);
  return command.action(({ runs = [], ...options }) => {
    if (runs.length === 0 && options.bench === undefined)
      command.error('nothing to report: name --runs, --bench or both');
    report({ ...options, runs }, io);
  });
}

/** Writes the report of run folders, and prints its tables. */
export function report(options: ReportOptions, io: Io): void {
  const { sections, needles, files } = writeReport(options);
  if (options.json) {
    print(io, JSON.stringify({ ...reportJson({ sections, needles }), files }));
    return;
  }
  for (const section of sections)
    print(io, `${sectionTitle(section)}\n\n${textTable(accuracyTable(section))}\n`);
  for (const { configuration, retrievals } of needles) {
    const title = `Needles in noise: trained with ${mechanismTitle(configuration.mechanism)}`;
    const table = textTable(retrievalTable(retrievals, configuration));
    print(io, `${title}\n\n${retrievals.length === 0 ? 'not asked yet: pnpm lra needles eval' : table}\n`);
  }
  print(io, `Report  ${files.map(shownPath).join('\n        ')}`);
}

/** Writes the report of run folders. */
export function writeReport({
  runs,
  bench = [],
  separate,
  out,
}: ReportOptions): Reported & { readonly files: readonly string[] } {
  const path = (name: string): string => join(out, name);
  const [html, markdown] = [path('lra.html'), path('lra.md')];
  const [picture, crossings] = [path('lra.svg'), path('crossings.svg')];
  for (const file of [html, markdown, picture, crossings]) requireWritable(file);
  const { runs: found, needles } = runs.length > 0 ? collectRuns(runs) : { runs: [], needles: [] };
  const sections = sectionsOf(found, separate === true);
  const reported = { sections, needles, benches: bench.flatMap(readBench) };
  writeFileAtomically(html, reportPage(reported, calledAs()));
  writeFileAtomically(markdown, reportMarkdown(reported));
  const files = [html, markdown];
  const drawn = [
    [picture, reportPicture(reported)],
    [crossings, crossingPicture(reported.benches)],
  ] as const;
  for (const [file, text] of drawn) {
    if (text === undefined) {
      // Nor one of an earlier report, about other measurements.
      rmSync(file, { force: true });
      continue;
    }
    writeFileAtomically(file, text);
    files.push(file);
  }
  return { ...reported, files };
}

/** What `--json` shows of a report. */
export function reportJson({ sections, needles }: Pick<Reported, 'sections' | 'needles'>): {
  readonly sections: readonly object[];
  readonly needles: readonly object[];
} {
  return { sections: sections.map(sectionJson), needles: needles.map(needlesJson) };
}

function sectionJson(section: Section): object {
  const { task, preset, training, data } = factsOf(section);
  const groups = groupsOf(section).map(({ runs, ...group }) => ({
    ...group,
    folders: runs.map(({ folder }) => folder),
  }));
  return { task, preset, steps: training.steps, majority: data.majority, groups };
}

function needlesJson({ configuration, retrievals }: NeedleRun): object {
  const { mechanism, seed } = configuration;
  return { mechanism, seed, retrievals: retrievalsJson(retrievals, configuration) };
}
