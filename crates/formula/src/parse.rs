//! Words and signs to parts.
//!
//! A mistake ends the argument or the parenthesis that it stands in, no more: behind the next comma or closing parenthesis the
//! parser goes on, so that several mistakes are found at once and none is reported twice.

#[cfg(test)]
mod tests;

use crate::function::FunctionSpec;
use crate::problem::{Problem, Span, in_order, shorten};
use crate::syntax::{Additive, Builtin, Expr, ExprKind, Name};
use crate::token::{Token, TokenKind, Word, tokens};

/// The longest formula, in bytes: twenty lines.
pub const MAX_LENGTH: usize = 2000;

/// How deep parentheses, functions and signs may nest. It bounds every recursion over the parts of a formula: of one level,
/// six parts can lie within each other (`or`, `and`, comparison, sum, product, operand).
pub const MAX_NESTING: usize = 24;

/// Reads a formula without asking what its names mean.
///
/// # Errors
///
/// Everything that is wrong with its form.
pub fn parse(source: &str) -> Result<Expr, Vec<Problem>> {
    let (expr, problems) = parse_what_can_be(source);
    if problems.is_empty() { Ok(expr) } else { Err(in_order(problems)) }
}

/// The parts of a formula, [`ExprKind::Invalid`] where there is a problem with the form.
pub(crate) fn parse_what_can_be(source: &str) -> (Expr, Vec<Problem>) {
    let all = Span { start: 0, end: source.len() };
    if source.len() > MAX_LENGTH {
        let what = format!("a formula has at most {MAX_LENGTH} bytes, this one has {}", source.len());
        let problem = Problem::new(all, what, "make two measurements of it");
        return (Expr { span: all, kind: ExprKind::Invalid }, vec![problem]);
    }
    let (tokens, problems) = tokens(source);
    let mut parser = Parser { source, tokens, next: 0, nesting: 0, is_lost: false, problems };
    let expr = parser.formula();
    (expr, parser.problems)
}

struct Parser<'s> {
    source: &'s str,
    /// The last one is [`TokenKind::End`].
    tokens: Vec<Token>,
    next: usize,
    nesting: usize,
    /// Set from a problem to the next comma or closing parenthesis: what seems wrong meanwhile follows from it.
    is_lost: bool,
    problems: Vec<Problem>,
}

impl Parser<'_> {
    fn token(&self) -> &Token {
        &self.tokens[self.next]
    }

    fn at(&self, kind: &TokenKind) -> bool {
        self.token().kind == *kind
    }

    /// Goes on to the next token, and never beyond the end.
    fn take(&mut self) -> Token {
        let token = self.token().clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn report(&mut self, span: Span, what: impl Into<String>, hint: impl Into<String>) {
        if !self.is_lost {
            self.problems.push(Problem::new(span, what, hint));
        }
    }

    /// Reports the next token, which was reported already if it is invalid.
    fn unexpected(&mut self, wanted: &str, hint: &str) {
        let span = self.token().span;
        match self.token().kind {
            TokenKind::Invalid => {}
            TokenKind::End => self.report(span, format!("{wanted} is missing at the end"), hint),
            _ => self.report(span, format!("{wanted} is missing before `{}`", shorten(span.text(self.source))), hint),
        }
        self.is_lost = true;
    }

    fn formula(&mut self) -> Expr {
        if self.at(&TokenKind::End) {
            let all = Span { start: 0, end: self.source.len() };
            self.report(all, "the formula is empty", "");
            return Expr { span: all, kind: ExprKind::Invalid };
        }
        let expr = self.any();
        if self.at(&TokenKind::Close) {
            let span = self.token().span;
            self.report(span, "nothing was opened that this `)` closes", "");
        } else if self.at(&TokenKind::Comma) {
            self.misplaced_comma();
        } else if !self.at(&TokenKind::End) {
            self.unexpected("an operator", "");
        }
        expr
    }

    fn any(&mut self) -> Expr {
        self.list(&TokenKind::Or, Self::all, ExprKind::Any)
    }

    fn all(&mut self) -> Expr {
        self.list(&TokenKind::And, Self::not, ExprKind::All)
    }

    fn list(&mut self, word: &TokenKind, part: fn(&mut Self) -> Expr, join: fn(Vec<Expr>) -> ExprKind) -> Expr {
        let first = part(self);
        if !self.at(word) {
            return first;
        }
        let mut parts = vec![first];
        while self.at(word) {
            self.take();
            parts.push(part(self));
        }
        Expr { span: ends(&parts), kind: join(parts) }
    }

    fn not(&mut self) -> Expr {
        if !self.at(&TokenKind::Not) {
            return self.comparison();
        }
        let sign = self.take();
        let inner = self.nested(Self::not);
        Expr { span: sign.span.to(inner.span), kind: ExprKind::Not(Box::new(inner)) }
    }

    fn comparison(&mut self) -> Expr {
        let left = self.sum();
        let TokenKind::Compare(how) = self.token().kind else { return left };
        self.take();
        let right = self.sum();
        let span = left.span.to(right.span);
        if let TokenKind::Compare(next) = self.token().kind {
            let (first, middle) = (shorten(span.text(self.source)), shorten(right.span.text(self.source)));
            let hint = format!("write `{first} and {middle} {} …`", next.as_str());
            self.report(self.token().span, "comparisons cannot be chained", hint);
            self.is_lost = true;
        }
        Expr { span, kind: ExprKind::Compare { how, left: Box::new(left), right: Box::new(right) } }
    }

    fn sum(&mut self) -> Expr {
        let (first, rest, span) = self.chain(Self::product, |kind| match kind {
            TokenKind::Additive(sign) => Some(*sign),
            _ => None,
        });
        if rest.is_empty() { first } else { Expr { span, kind: ExprKind::Sum { first: Box::new(first), rest } } }
    }

    fn product(&mut self) -> Expr {
        let (first, rest, span) = self.chain(Self::signed, |kind| match kind {
            TokenKind::Multiplicative(sign) => Some(*sign),
            _ => None,
        });
        if rest.is_empty() { first } else { Expr { span, kind: ExprKind::Product { first: Box::new(first), rest } } }
    }

    /// `part`, and as often as there is such a sign, another one.
    fn chain<S>(
        &mut self,
        part: fn(&mut Self) -> Expr,
        sign: fn(&TokenKind) -> Option<S>,
    ) -> (Expr, Vec<(S, Expr)>, Span) {
        let first = part(self);
        let (mut rest, mut span) = (Vec::new(), first.span);
        while let Some(sign) = sign(&self.token().kind) {
            self.take();
            let next = part(self);
            span = span.to(next.span);
            rest.push((sign, next));
        }
        (first, rest, span)
    }

    fn signed(&mut self) -> Expr {
        if !self.at(&TokenKind::Additive(Additive::Minus)) {
            return self.operand();
        }
        let sign = self.take();
        let inner = self.nested(Self::signed);
        Expr { span: sign.span.to(inner.span), kind: ExprKind::Negate(Box::new(inner)) }
    }

    fn operand(&mut self) -> Expr {
        let kind = match &self.token().kind {
            TokenKind::Number(number) => ExprKind::Number(*number),
            TokenKind::Text(text) => ExprKind::Text(text.clone()),
            TokenKind::Flag(flag) => ExprKind::Flag(*flag),
            TokenKind::Name(first, second) => {
                let (first, second) = (first.clone(), second.clone());
                return self.name(first, second);
            }
            TokenKind::Open => return self.group(),
            TokenKind::Not => return self.misplaced_not(),
            _ => {
                let span = self.token().span;
                self.unexpected("a value", "");
                return Expr { span, kind: ExprKind::Invalid };
            }
        };
        Expr { span: self.take().span, kind }
    }

    fn group(&mut self) -> Expr {
        let open = self.take().span;
        let inner = self.nested(Self::any);
        if self.at(&TokenKind::Comma) {
            self.misplaced_comma();
        }
        let close = self.close(open);
        Expr { span: open.to(close), kind: inner.kind }
    }

    /// Takes what closes `open`, and skips what stands before it.
    fn close(&mut self, open: Span) -> Span {
        if !self.at(&TokenKind::Close) && !self.at(&TokenKind::End) {
            self.unexpected("an operator", "");
            self.skip_to(&[TokenKind::Close]);
        }
        if self.at(&TokenKind::End) {
            self.report(open, "this `(` is never closed", "");
            self.is_lost = true;
        } else {
            self.is_lost = false;
        }
        self.take().span
    }

    /// Goes to the first of `kinds` outside of all parentheses that are opened on the way, or to the end.
    fn skip_to(&mut self, kinds: &[TokenKind]) {
        let mut opened = 0_usize;
        while !self.at(&TokenKind::End) && (opened > 0 || !kinds.contains(&self.token().kind)) {
            match self.take().kind {
                TokenKind::Open => opened += 1,
                TokenKind::Close => opened = opened.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn misplaced_comma(&mut self) {
        let span = self.token().span;
        self.report(span, "a comma stands only between the arguments of a function", "decimals have a point: `0.5`");
        self.is_lost = true;
    }

    fn misplaced_not(&mut self) -> Expr {
        let span = self.token().span;
        self.report(span, "`not` needs parentheses here", "write `(not …)`");
        self.not()
    }

    fn name(&mut self, first: Word, second: Option<Word>) -> Expr {
        let span = self.take().span;
        if second.is_none() && !first.is_quoted {
            if self.at(&TokenKind::Open) {
                return self.call(first.text, span);
            }
            if let Some(spec) = FunctionSpec::named(&first.text).filter(|_| self.is_at_operand()) {
                self.report(span, format!("`{}` is a function", spec.name), format!("write `{}`", spec.usage()));
                self.is_lost = true;
            }
        }
        Expr { span, kind: named(first, second) }
    }

    /// Whether another operand follows without any sign in between.
    fn is_at_operand(&self) -> bool {
        use TokenKind::{Flag, Name, Not, Number, Text};
        matches!(self.token().kind, Number(_) | Text(_) | Flag(_) | Name(..) | Not)
    }

    fn call(&mut self, function: String, name_span: Span) -> Expr {
        let open = self.take().span;
        let mut arguments = Vec::new();
        if !self.at(&TokenKind::Close) {
            arguments.push(self.argument());
            while self.at(&TokenKind::Comma) {
                self.take();
                arguments.push(self.argument());
            }
        }
        let span = name_span.to(self.close(open));
        Expr { span, kind: ExprKind::Call { function, name_span, arguments } }
    }

    /// Behind it stands a comma, a closing parenthesis or the end.
    fn argument(&mut self) -> Expr {
        let argument = self.nested(Self::any);
        let behind = [TokenKind::Comma, TokenKind::Close];
        if !self.at(&TokenKind::End) && !behind.contains(&self.token().kind) {
            self.unexpected("an operator or a comma", "");
            self.skip_to(&behind);
        }
        if !self.at(&TokenKind::End) {
            self.is_lost = false;
        }
        argument
    }

    /// One level deeper, or the end of everything.
    fn nested(&mut self, part: fn(&mut Self) -> Expr) -> Expr {
        let span = self.token().span;
        if self.nesting == MAX_NESTING {
            let what = format!("more than {MAX_NESTING} parentheses, functions and signs within each other");
            self.report(span, what, "make two measurements of it");
            self.is_lost = true;
            self.next = self.tokens.len() - 1;
            return Expr { span, kind: ExprKind::Invalid };
        }
        self.nesting += 1;
        let expr = part(self);
        self.nesting -= 1;
        expr
    }
}

/// From the first part to the last.
fn ends(parts: &[Expr]) -> Span {
    match parts {
        [first, .., last] => first.span.to(last.span),
        [only] => only.span,
        [] => Span { start: 0, end: 0 },
    }
}

fn named(first: Word, second: Option<Word>) -> ExprKind {
    let is_quoted = first.is_quoted || second.as_ref().is_some_and(|word| word.is_quoted);
    let name = match second {
        None => Name::Variable(first.text),
        Some(member) => Name::Member { owner: first.text, member: member.text },
    };
    match Builtin::named(&name.to_string()).filter(|_| !is_quoted) {
        Some(builtin) => ExprKind::Builtin(builtin),
        None => ExprKind::Name(name),
    }
}
