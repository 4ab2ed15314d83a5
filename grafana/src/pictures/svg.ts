/** The little of SVG that pictures of dashboards take. Sizes are in pixels, in Grafana's dark colours. */

export const COLOURS: Record<string, string> = {
  background: '#111217',
  panel: '#181b1f',
  border: '#2c3235',
  text: '#d0d3d8',
  faint: '#8e939b',
  grid: '#2a2e33',
  green: '#73bf69',
  yellow: '#f2cc0c',
  red: '#f2495c',
};
/** For series, in turn. */
export const PALETTE = [
  '#73bf69',
  '#f2cc0c',
  '#8ab8ff',
  '#ff9830',
  '#f2495c',
  '#5794f2',
  '#b877d9',
  '#37872d',
  '#e0b400',
  '#c0d8ff',
  '#c4162a',
  '#8f3bb8',
];

/** Mean width of a letter, of its height: for cutting texts off, which SVG cannot. */
const LETTER = 0.6;

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

export function textWidth(text: string, size: number): number {
  return text.length * size * LETTER;
}

export function cut(text: string, size: number, width: number): string {
  const letters = Math.floor(width / (size * LETTER));
  return text.length <= letters ? text : `${text.slice(0, Math.max(1, letters - 1))}…`;
}

export interface TextStyle {
  size?: number;
  colour?: string;
  anchor?: 'start' | 'middle' | 'end';
  weight?: number;
}

export function text(x: number, y: number, content: string, o: TextStyle = {}): string {
  const { size = 11, colour = COLOURS.text!, anchor = 'start', weight } = o;
  const rest = weight === undefined ? '' : ` font-weight="${weight}"`;
  return `<text x="${short(x)}" y="${short(y)}" font-size="${short(size)}" fill="${colour}" text-anchor="${anchor}"${rest}>${escaped(content)}</text>`;
}

export function rect({ x, y, width, height }: Box, fill: string, rest = ''): string {
  return `<rect x="${short(x)}" y="${short(y)}" width="${short(Math.max(0, width))}" height="${short(Math.max(0, height))}" fill="${fill}"${rest === '' ? '' : ` ${rest}`}/>`;
}

export function line(x1: number, y1: number, x2: number, y2: number, colour: string, rest = ''): string {
  return `<path d="M${short(x1)} ${short(y1)}L${short(x2)} ${short(y2)}" stroke="${colour}"${rest === '' ? '' : ` ${rest}`}/>`;
}

/** A line through points; gaps where there is undefined. */
export function path(points: readonly ([number, number] | undefined)[], rest: string): string {
  let d = '';
  let isDown = false;
  for (const point of points) {
    if (point !== undefined) d += `${isDown ? 'L' : 'M'}${short(point[0])} ${short(point[1])}`;
    isDown = point !== undefined;
  }
  return d === '' ? '' : `<path d="${d}" ${rest}/>`;
}

/** Tenths of a pixel, so that pictures stay small. */
export function short(value: number): string {
  return String(Math.round(value * 10) / 10);
}

export function picture(title: string, width: number, height: number, content: string[]): string {
  const all = rect({ x: 0, y: 0, width, height }, COLOURS.background!);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="Inter, Helvetica, Arial, sans-serif">\n<title>${escaped(title)}</title>\n${[all, ...content].filter((one) => one !== '').join('\n')}\n</svg>\n`;
}
