/** What a reader of HTML sees, roughly: enough to find words that tags and entities run through. */

/** Tags between whose two sides no word goes on. */
const BREAKS = new Set(
  'address article blockquote br center dd div dl dt form h1 h2 h3 h4 h5 h6 hr li ol option p pre section table td th title tr ul'.split(
    ' ',
  ),
);

/** Names of the characters from U+00A0 on. */
const LATIN1 =
  'nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml'.split(
    ' ',
  );

const ENTITIES: ReadonlyMap<string, string> = new Map([
  ...LATIN1.map((name, at) => [name, String.fromCharCode(0xa0 + at)] as const),
  ['amp', '&'],
  ['apos', "'"],
  ['bull', '•'],
  ['euro', '€'],
  ['gt', '>'],
  ['hellip', '…'],
  ['ldquo', '“'],
  ['lsquo', '‘'],
  ['lt', '<'],
  ['mdash', '—'],
  ['ndash', '–'],
  ['quot', '"'],
  ['rdquo', '”'],
  ['rsquo', '’'],
  ['trade', '™'],
]);

/** A tag that is longer, or never ends, is text. */
const MAX_TAG = 16 * 1024;
const MAX_ENTITY = 32;
/** Only one way to match each: in what somebody has made up to be slow there is nothing to go back to. */
const MARKUP = /<([^<>]*)>|&(#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,8});/g;
const TAG_NAME = /^\/?([A-Za-z][A-Za-z0-9]{0,15})(?![A-Za-z0-9])/;

/** HTML that comes in pieces. */
export class HtmlText {
  #held = '';

  push(html: string): string {
    const whole = this.#held + html;
    const cut = unfinished(whole);
    this.#held = whole.slice(cut);
    return visible(whole.slice(0, cut));
  }

  finish(): string {
    const rest = visible(this.#held);
    this.#held = '';
    return rest;
  }
}

/** Where a tag or an entity begins of which the end is still to come. */
function unfinished(text: string): number {
  const tag = text.lastIndexOf('<');
  if (tag !== -1 && text.length - tag <= MAX_TAG && !text.includes('>', tag)) return tag;
  const entity = text.lastIndexOf('&');
  if (entity !== -1 && text.length - entity <= MAX_ENTITY && !text.includes(';', entity)) return entity;
  return text.length;
}

function visible(html: string): string {
  return html.replaceAll(MARKUP, (whole, tag: string | undefined, entity: string | undefined) => {
    if (entity !== undefined) return character(entity) ?? whole;
    const name = TAG_NAME.exec(tag!)?.[1];
    return name !== undefined && BREAKS.has(name.toLowerCase()) ? ' ' : '';
  });
}

function character(entity: string): string | undefined {
  if (!entity.startsWith('#')) return ENTITIES.get(entity);
  const isHex = entity[1] === 'x' || entity[1] === 'X';
  const code = Number.parseInt(entity.slice(isHex ? 2 : 1), isHex ? 16 : 10);
  return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : undefined;
}
