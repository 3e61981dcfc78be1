import { formatCount, type Table, textTable } from '@topk-attention/app-kit';
import { Command, type CommandUnknownOpts, type Io, print } from '@topk-attention/app-kit/node';
import { mechanisms } from '../model/mechanism.js';
import { mechanismNames } from '../model/settings.js';
import { type TaskFacts, taskNames, tasks } from '../tasks/task.js';

/** `tasks`: what there is to learn, and where its data come from. */
export function tasksCommand(io: Io): CommandUnknownOpts {
  return new Command('tasks')
    .summary('the six tasks and where their data come from, and the mechanisms')
    .description(
      'The six tasks: what is asked, how long inputs are, where the data come from. And the mechanisms.',
    )
    .usage('[--json]')
    .option('--json', 'print one JSON object on standard output')
    .action(({ json }) => {
      const all = taskNames.map((name) => tasks[name]);
      if (json) {
        const about = mechanismNames.map((name) => ({ name, about: mechanisms[name].about }));
        print(io, JSON.stringify({ tasks: all, mechanisms: about }));
        return;
      }
      print(io, textTable(tableOf(all)));
      for (const { name, about, data } of all) print(io, `\n${name}: ${about}.\n  Data: ${data}.`);
      print(io, '\nMechanisms:');
      for (const name of mechanismNames) print(io, `  ${name}: ${mechanisms[name].about}`);
    });
}

function tableOf(all: readonly TaskFacts[]): Table {
  return {
    columns: [
      { title: 'task', isHeading: true },
      { title: 'tokens', align: 'right' },
      { title: 'classes', align: 'right' },
      { title: 'majority %', align: 'right' },
      { title: 'data' },
    ],
    rows: all.map(({ name, tokens, parts, classes, majority, canGenerate }) => [
      name,
      parts === 2 ? `2 x ${formatCount(tokens)}` : formatCount(tokens),
      String(classes),
      majority.toFixed(1),
      canGenerate ? 'generated, or read' : 'read',
    ]),
  };
}
