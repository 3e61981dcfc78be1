/** Lines of cells as a Markdown table; the first line is the header. */
export function markdownTable(lines: readonly (readonly string[])[]): string {
  const [head = []] = lines;
  const widths = head.map((_, column) => Math.max(3, ...lines.map((line) => (line[column] ?? '').length)));
  const show = (line: readonly string[]): string =>
    `| ${line.map((cell, column) => cell.padEnd(widths[column] as number)).join(' | ')} |`;
  return [show(head), show(widths.map((width) => '-'.repeat(width))), ...lines.slice(1).map(show)].join('\n');
}
