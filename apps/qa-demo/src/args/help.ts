import type { Command } from './command.js';

/** Help of the whole command line. */
export function generalHelp(commands: readonly Command[]): string {
  const listed = commands.filter((each) => !each.isInternal);
  const width = Math.max(...listed.map((each) => each.name.length));
  return [
    'Questions answered over long texts by a T5 with top-k attention and top-k feed-forward layers.',
    '',
    'Usage: pnpm qa <command> [options]',
    '',
    'Commands:',
    ...listed.map((each) => `  ${each.name.padEnd(width)}  ${each.summary}`),
    '',
    'pnpm qa <command> --help tells more; pnpm qa --version prints versions.',
    'Exit codes: 0 done, 1 failed, 2 wrong use of the command line, 130 interrupted.',
  ].join('\n');
}

/** Help of one command. */
export function commandHelp(command: Command): string {
  const options = Object.entries(command.options).map(([name, { short, placeholder, help }]) => ({
    left: `${short === undefined ? '' : `-${short}, `}--${name}${placeholder === undefined ? '' : ` ${placeholder}`}`,
    help,
  }));
  const width = Math.max(...options.map((each) => each.left.length));
  return [
    `${command.summary.charAt(0).toUpperCase()}${command.summary.slice(1)}.`,
    '',
    `Usage: pnpm qa ${command.name} ${command.usage}`,
    '',
    'Options:',
    ...options.map((each) => `  ${each.left.padEnd(width)}  ${each.help}`),
    ...(command.notes.length === 0 ? [] : ['', ...command.notes]),
  ].join('\n');
}
